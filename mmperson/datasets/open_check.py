"""Open clips in workers, which a bad clip may end, to see whether they can be read."""

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
    """Open clips; the answer is the name of the error that refuses one, None where none does."""

    module: ClassVar = __name__

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def read(self, task: str, answer: dict[str, Any]) -> str | None:
        """Return the name of the error.

        Raises:
            ValueError: That is no answer.
        """
        match answer:
            case {"refusal": str() | None as refusal}:
                return refusal
        raise ValueError(f"No answer: {answer!r}.")

    def on_crash(self, task: str, error: MediaError) -> str:
        """Name what a clip is refused for that has ended its worker."""
        return type(error).__name__

    def on_startup_error(self, problem: str) -> DataError:
        """Return the error that says why no clip can be opened."""
        return DataError(
            f"The clips cannot be opened. {problem}", hint="Look for them alone with: --no-probe"
        )


def check_clips_open(clips: Sequence[str], on_clip: Callable[[], object]) -> list[str | None]:
    """Open clips without decoding them.

    Args:
        clips: Their paths.
        on_clip: Called after each of them.

    Returns:
        For each the name of the error with which it is refused, None for one that can be read.

    Raises:
        DataError: No worker can be started.
    """
    refusals: list[str | None] = [None] * len(clips)
    for number, refusal in imap_unordered(OpenCheckWorkload(), clips, WorkerLimits()):
        refusals[number] = refusal
        on_clip()
    return refusals


def initialize(settings: dict[str, Any]) -> TaskFunction:
    """Return what opens a clip, in a worker; a task is a path."""

    def probe(clip: str) -> dict[str, Any]:
        try:
            probe_clip(clip)
        except (MediaError, OSError) as error:
            return {"refusal": type(error).__name__}
        return {"refusal": None}

    return probe
