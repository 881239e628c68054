"""Decode the clips of a manifest into a cache, in worker processes.

A clip that crashes FFmpeg ends only its worker, not the training; its row keeps the transcript.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.manifest import Manifest
from mmperson.datasets.rows import published, read_unchanged, require_clips
from mmperson.errors import DataError, MediaError, UsageError
from mmperson.files import temp_folder
from mmperson.pool.worker import TaskFunction
from mmperson.pool.worker_pool import WorkerLimits, Workload, imap_unordered
from mmperson.preprocessing.spec import InputSpec

_HEADER_BYTES = 4096


class ClipRequest(NamedTuple):
    """Path of a clip and the modalities to read."""

    clip: str
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class DecodingWorkload(Workload[ClipRequest, bool]):
    """Decode clips into a cache; the result is whether a clip has any modality."""

    cache: FeatureCache
    spec: InputSpec
    module: ClassVar = __name__

    @property
    def largest_file(self) -> int:
        """Size of the largest array in bytes."""
        return max(part.nbytes for part in self.spec.parts.values()) + _HEADER_BYTES

    @property
    def settings(self) -> dict[str, Any]:
        """Folder of the cache and the spec."""
        return {"folder": str(self.cache.folder), "spec": self.spec.model_dump(mode="json")}

    def read(self, task: ClipRequest, answer: dict[str, Any]) -> bool:
        """Return whether the clip has any modality, see ``Workload.read``.

        Raises:
            UsageError: The cache cannot be written.
        """
        match answer:
            case {"unwritable": str() as message, "hint": str() as hint}:
                raise UsageError(message, hint=hint)
            case {"usable": bool() as usable}:
                return usable
        raise ValueError(f"Invalid answer: {answer!r}.")

    def on_crash(self, task: ClipRequest, error: MediaError) -> bool:
        """Record the crash, so that the clip is not opened outside a worker."""
        with suppress(OSError):  # the clip is missing
            for name in task.modalities:
                self.cache.store_missing(task.clip, name, str(error))
        return False

    def on_startup_error(self, problem: str) -> DataError:
        """Return the error to raise when no worker can be initialized."""
        return DataError(f"The clips cannot be decoded. {problem}")


def decode_clips(
    manifest: Manifest,
    spec: InputSpec,
    cache: FeatureCache,
    limits: WorkerLimits,
    on_row: Callable[[int], object] = lambda _: None,
) -> int:
    """Decode the clips of a manifest into a cache.

    Cached clips are skipped; unreadable ones are tried again.

    Args:
        manifest: The rows.
        spec: The preprocessing.
        cache: Cache for this spec.
        limits: Number and limits of workers.
        on_row: Called with the number of finished rows.

    Returns:
        Number of rows without video and audio.

    Raises:
        DataError: A clip or column is missing, or no worker can be started.
        UsageError: The cache cannot be written.
    """
    require_clips(manifest, spec)
    # Per clip, whether each of its rows has published inputs.
    tasks: dict[ClipRequest, list[bool]] = {}
    done = empty = 0
    for row, clip in enumerate(manifest.clip):
        arrays, missing = published(manifest, row, spec)
        has_some = any(array is not None for array in arrays.values())
        if clip is None or all(cache.is_final(clip, name) for name in missing):
            has_some |= clip is not None and any(cache.contains(clip, name) for name in missing)
            done, empty = done + 1, empty + (not has_some)
        else:
            tasks.setdefault(ClipRequest(clip, tuple(missing)), []).append(has_some)
    on_row(done)
    rows = list(tasks.values())
    for number, usable in imap_unordered(DecodingWorkload(cache, spec), tasks, limits):
        done += len(rows[number])
        empty += 0 if usable else rows[number].count(False)
        on_row(done)
    return empty


def refusals(manifest: Manifest, spec: InputSpec, cache: FeatureCache) -> dict[str, str]:
    """Return the recorded errors of unreadable clips by path."""
    errors = {}
    for row, clip in enumerate(manifest.clip):
        for name in published(manifest, row, spec)[1]:
            if clip is not None and (reason := cache.refusal(clip, name)):
                errors[clip] = reason
    return errors


@contextmanager
def decoded(
    manifest: Manifest, spec: InputSpec, folder: Path | None = None
) -> Iterator[FeatureCache]:
    """Provide a cache with all decoded clips of a manifest.

    Args:
        manifest: The rows.
        spec: The preprocessing.
        folder: Folder of the cache; None for a temporary one.

    Raises:
        DataError: See ``decode_clips``.
        UsageError: The cache cannot be written.
    """
    with temp_folder() if folder is None else nullcontext(folder) as place:
        cache = FeatureCache(place, spec)
        decode_clips(manifest, spec, cache, WorkerLimits())
        yield cache


def initialize(settings: dict[str, Any]) -> TaskFunction:
    """Return the function that a worker calls with each ``ClipRequest``."""
    spec = InputSpec.model_validate(settings["spec"])
    cache = FeatureCache(Path(settings["folder"]), spec)
    spec.preload()

    def decode(task: tuple[str, list[str]]) -> dict[str, Any]:
        clip, modalities = task
        try:
            identity, arrays, error = read_unchanged(clip, spec.subset(modalities), threads="none")
        except FileNotFoundError:  # the clip is missing
            return {"usable": False}
        try:
            cache.write(identity, arrays, error)
        except UsageError as unwritable:
            return {"unwritable": unwritable.message, "hint": unwritable.hint or ""}
        return {"usable": any(array is not None for array in arrays.values())}

    return decode
