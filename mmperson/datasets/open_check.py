"""Check in worker processes, which a malformed clip may crash, that clips can be opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mmperson.errors import DataError, MediaError
from mmperson.media import probe_clip
from mmperson.pool.worker import TaskFunction
from mmperson.pool.worker_pool import WorkerLimits, Workload, imap_unordered


@dataclass(frozen=True)
class OpenCheckWorkload(Workload[str, str | None]):
    """Open clips; the result is the name of the error, None without one."""

    module: ClassVar = __name__

    @property
    def settings(self) -> dict[str, Any]:
        """None are needed."""
        return {}

    def read(self, task: str, answer: dict[str, Any]) -> str | None:
        """Return the name of the error, see ``Workload.read``."""
        match answer:
            case {"refusal": str() | None as refusal}:
                return refusal
        raise ValueError(f"Invalid answer: {answer!r}.")

    def on_crash(self, task: str, error: MediaError) -> str:
        """Return the name of the error of a clip that crashed its worker."""
        return type(error).__name__

    def on_startup_error(self, problem: str) -> DataError:
        """Return the error to raise when no worker can be initialized."""
        return DataError(
            f"The clips cannot be opened. {problem}", hint="Only check that they exist: --no-probe"
        )


def check_clips_open(clips: Sequence[str], on_clip: Callable[[], object]) -> list[str | None]:
    """Open clips without decoding them.

    Args:
        clips: Paths.
        on_clip: Called after each clip.

    Returns:
        The name of the error of each clip, None for one that can be opened.

    Raises:
        DataError: No worker can be started.
    """
    errors: list[str | None] = [None] * len(clips)
    for number, error in imap_unordered(OpenCheckWorkload(), clips, WorkerLimits()):
        errors[number] = error
        on_clip()
    return errors


def initialize(settings: dict[str, Any]) -> TaskFunction:
    """Return the function that a worker calls with each path."""

    def probe(clip: str) -> dict[str, Any]:
        try:
            probe_clip(clip)
        except (MediaError, OSError) as error:
            return {"refusal": type(error).__name__}
        return {"refusal": None}

    return probe
