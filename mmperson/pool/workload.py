"""What workers do, and what a clip may cost one."""

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
    """What a pool does with clips: a worker's part is in a module of its own, the parent's is here.

    Attributes:
        module: Name of the module whose ``initialize`` a worker calls, see ``serve``.
    """

    module: ClassVar[str]

    @property
    def largest_file(self) -> int:
        """Bytes of the largest file that a worker may write once it is ready; 0 for none."""
        return 0

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What a worker needs to get ready; something that JSON can hold."""

    @abstractmethod
    def read(self, task: TaskT, answer: dict[str, Any]) -> DoneT:
        """Turn a worker's answer into what was asked for.

        Raises:
            ValueError: It is no answer to this task.
        """

    @abstractmethod
    def on_crash(self, task: TaskT, error: MediaError) -> DoneT:
        """Return what stands in for the answer to a task that has ended its worker."""

    @abstractmethod
    def on_startup_error(self, problem: str) -> MMPersonError:
        """Return the error that says why workers cannot get ready."""


@dataclass(frozen=True)
class WorkerLimits:
    """How many workers there are, and what a clip may cost one.

    Attributes:
        workers: Processes; None for one per processor that this process may use.
        timeout_s: Wall time per clip, in seconds.
        memory_mb: Memory of a worker beyond that of one that is ready, in MiB. Linux only.

    Raises:
        UsageError: A value out of range.
    """

    workers: int | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_mb: float = DEFAULT_MEMORY_MB

    def __post_init__(self) -> None:
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise UsageError(f"The number of workers is {self.workers}; 1 to 1024 are allowed.")
        if not 0 < self.timeout_s <= 1e6:
            raise UsageError(f"The time per clip is {self.timeout_s} s; it must be above 0.")
        if not 16 <= self.memory_mb <= 1 << 20:
            raise UsageError(f"The memory of a worker is {self.memory_mb} MB; at least 16 is.")
