"""The interface of a workload, and the limits of workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

from mmperson.errors import MediaError, MMPersonError, UsageError

DEFAULT_TIMEOUT_S: Final = 300.0
DEFAULT_MEMORY_MB: Final = 2048.0

TaskT = TypeVar("TaskT")
DoneT = TypeVar("DoneT")


class Workload(ABC, Generic[TaskT, DoneT]):
    """A kind of task: this is the parent's side; the worker's side is ``module``.

    Attributes:
        module: Name of the module whose ``initialize`` the workers call, see ``serve``.
    """

    module: ClassVar[str]

    @property
    def largest_file(self) -> int:
        """Size in bytes of the largest file that an initialized worker may write; 0 for none."""
        return 0

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Settings for ``initialize``, a JSON value."""

    @abstractmethod
    def read(self, task: TaskT, answer: dict[str, Any]) -> DoneT:
        """Convert a worker's answer to the result of the task.

        Raises:
            ValueError: The answer is invalid.
        """

    @abstractmethod
    def on_crash(self, task: TaskT, error: MediaError) -> DoneT:
        """Return the result of a task that crashed its worker."""

    @abstractmethod
    def on_startup_error(self, problem: str) -> MMPersonError:
        """Return the error to raise when no worker can be initialized."""


@dataclass(frozen=True)
class WorkerLimits:
    """Number of workers and limits per clip.

    Attributes:
        workers: Processes; None for one per usable processor.
        timeout_s: Wall time per clip in seconds.
        memory_mb: Memory of a worker in addition to its idle memory, in MiB. Linux only.

    Raises:
        UsageError: A value is out of range.
    """

    workers: int | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_mb: float = DEFAULT_MEMORY_MB

    def __post_init__(self) -> None:
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise UsageError(f"The number of workers is {self.workers}; 1 to 1024 are allowed.")
        if not 0 < self.timeout_s <= 1e6:
            raise UsageError(f"The timeout per clip is {self.timeout_s} s; it must be above 0.")
        if not 16 <= self.memory_mb <= 1 << 20:
            raise UsageError(
                f"The memory of a worker is {self.memory_mb} MB; at least 16 is needed."
            )
