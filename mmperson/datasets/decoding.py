"""Decode the clips of a manifest in workers, which a bad clip may end, and keep what is read.

A clip that crashes FFmpeg would end a training at the same place again and again. Here it costs
itself alone: its row has the words that are said.
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
    """What is to be read of a clip.

    Attributes:
        clip: Its path.
        modalities: Names of what is read.
    """

    clip: str
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class DecodingWorkload(Workload[ClipRequest, bool]):
    """Decode clips into a cache; the answer is whether a clip has anything.

    Attributes:
        cache: Where to.
        spec: The preprocessing that the cache was opened for.
    """

    cache: FeatureCache
    spec: InputSpec
    module: ClassVar = __name__

    @property
    def largest_file(self) -> int:
        """Bytes of the largest array."""
        return max(part.nbytes for part in self.spec.parts.values()) + _HEADER_BYTES

    @property
    def settings(self) -> dict[str, Any]:
        """Where to, and by which spec."""
        return {"folder": str(self.cache.folder), "spec": self.spec.model_dump(mode="json")}

    def read(self, task: ClipRequest, answer: dict[str, Any]) -> bool:
        """Return whether the clip has anything.

        Raises:
            UsageError: The cache cannot be written.
            ValueError: That is no answer.
        """
        match answer:
            case {"unwritable": str() as message, "hint": str() as hint}:
                raise UsageError(message, hint=hint)
            case {"usable": bool() as usable}:
                return usable
        raise ValueError(f"Neither an answer nor a complaint: {answer!r}.")

    def on_crash(self, task: ClipRequest, error: MediaError) -> bool:
        """Note that the clip has ended its worker, so that nobody opens it unawares."""
        with suppress(OSError):  # the clip has gone
            for name in task.modalities:
                self.cache.store_missing(task.clip, name, str(error))
        return False

    def on_startup_error(self, problem: str) -> DataError:
        """Return the error that says why nothing can be decoded."""
        return DataError(f"The clips cannot be decoded. {problem}")


def decode_clips(
    manifest: Manifest,
    spec: InputSpec,
    cache: FeatureCache,
    limits: WorkerLimits,
    on_row: Callable[[int], object] = lambda _: None,
) -> int:
    """Keep what a spec reads of the clips of a manifest.

    What is kept already is not read again; a clip that could not be read is tried once more.

    Args:
        manifest: The rows.
        spec: The preprocessing.
        cache: Where to, opened for this spec.
        limits: Number of workers, and what a clip may cost one.
        on_row: Told after every row how many are done.

    Returns:
        How many rows have neither a picture nor a sound.

    Raises:
        DataError: A clip is missing, or a column; or no worker can be started.
        UsageError: The cache cannot be written.
    """
    require_clips(manifest, spec)
    tasks: dict[
        ClipRequest, list[bool]
    ] = {}  # for each row of the clip, whether it has something else
    done = mute = 0
    for row, clip in enumerate(manifest.clip):
        found, wanted = published(manifest, row, spec)
        has_some = any(array is not None for array in found.values())
        if clip is None or all(cache.is_final(clip, name) for name in wanted):
            has_some |= clip is not None and any(cache.contains(clip, name) for name in wanted)
            done, mute = done + 1, mute + (not has_some)
        else:
            tasks.setdefault(ClipRequest(clip, tuple(wanted)), []).append(has_some)
    on_row(done)
    rows = list(tasks.values())
    for number, usable in imap_unordered(DecodingWorkload(cache, spec), tasks, limits):
        done += len(rows[number])
        mute += 0 if usable else rows[number].count(False)
        on_row(done)
    return mute


def refusals(manifest: Manifest, spec: InputSpec, cache: FeatureCache) -> dict[str, str]:
    """Return why clips of a manifest cannot be read, by their paths, as far as is known."""
    found = {}
    for row, clip in enumerate(manifest.clip):
        for name in published(manifest, row, spec)[1]:
            if clip is not None and (reason := cache.refusal(clip, name)):
                found[clip] = reason
    return found


@contextmanager
def decoded(
    manifest: Manifest, spec: InputSpec, folder: Path | None = None
) -> Iterator[FeatureCache]:
    """Give a cache that has what a spec reads of the clips of a manifest.

    Args:
        manifest: The rows.
        spec: The preprocessing.
        folder: Where it lies; None for a temporary one, which goes in the end.

    Raises:
        DataError: See ``decode_clips``.
        UsageError: There is no room for it.
    """
    with temp_folder() if folder is None else nullcontext(folder) as place:
        cache = FeatureCache(place, spec)
        decode_clips(manifest, spec, cache, WorkerLimits())
        yield cache


def initialize(settings: dict[str, Any]) -> TaskFunction:
    """Open the cache, in a worker; a task is a ``ClipRequest``."""
    spec = InputSpec.model_validate(settings["spec"])
    cache = FeatureCache(Path(settings["folder"]), spec)
    spec.preload()

    def decode(task: tuple[str, list[str]]) -> dict[str, Any]:
        clip, modalities = task
        try:
            identity, found, refusal = read_unchanged(clip, spec.subset(modalities), threads="none")
        except FileNotFoundError:  # the clip has gone
            return {"usable": False}
        try:
            cache.write(identity, found, refusal)
        except UsageError as error:
            return {"unwritable": error.message, "hint": error.hint or ""}
        return {"usable": any(array is not None for array in found.values())}

    return decode
