"""One manifest row as network inputs: published features first, else the clip itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
from tokenizers import Tokenizer

from mmperson.datasets.cache import FeatureCache, file_identity
from mmperson.datasets.manifest import Manifest
from mmperson.errors import DataError, MediaError
from mmperson.media import read_clip
from mmperson.media.decode import Threads
from mmperson.preprocessing.clip import ClipInputs, prepare_clip
from mmperson.preprocessing.spec import InputSpec


def prepare_row(
    manifest: Manifest,
    row: int,
    spec: InputSpec,
    tokenizer: Tokenizer | None,
    cache: FeatureCache | None = None,
) -> ClipInputs:
    """Prepare one row; what it lacks is absent.

    Columns come from the manifest, and so do acoustic descriptors where it has them; the rest comes
    from the clip.

    Args:
        manifest: The corpus.
        row: Index of the row.
        spec: The preprocessing.
        tokenizer: Tokenizer of ``spec.text``; None if no text is read.
        cache: Where decoded inputs of clips are kept; None decodes anew.

    Raises:
        DataError: The manifest lacks a column that the spec reads.
    """
    inputs = prepare_clip(None, manifest.transcript[row], spec, tokenizer)
    found, wanted = published(manifest, row, spec)
    clip = manifest.clip[row]
    if clip is not None and wanted:
        found |= _read_clip(clip, spec.subset(wanted), cache)
    return replace(inputs, **found)


def published(manifest: Manifest, row: int, spec: InputSpec) -> tuple[dict[str, Any], list[str]]:
    """Return what a manifest holds of a row's sound and pictures, and what its clip must give.

    Args:
        manifest: The corpus.
        row: Index of the row.
        spec: The preprocessing.

    Returns:
        Arrays by modality, None where columns say nothing; and the names of the other modalities,
        which are read of clips.

    Raises:
        DataError: The manifest lacks a column that the spec reads.
    """
    found: dict[str, Any] = {}
    wanted = []
    for name, part in spec.parts.items():
        if part.source == "transcript":
            continue
        array = part.published(manifest, row)
        if array is None and part.source == "clip":
            wanted.append(name)
        else:
            found[name] = array
    return found, wanted


def require_clips(manifest: Manifest, spec: InputSpec) -> None:
    """Refuse a manifest that names clips which are not there, if a spec reads clips.

    Otherwise a corpus that has moved would turn into one of text alone without a word.

    Raises:
        DataError: A clip is missing.
    """
    if all(part.source != "clip" for part in spec.parts.values()):
        return
    named = [clip for clip in manifest.clip if clip is not None]
    missing = [clip for clip in named if not os.path.isfile(clip)]  # Path fails on odd names
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(named):,} clips that the manifest names are not there.",
            hint="Put them back, or make the manifest anew with: mmperson data import",
            findings=missing[:10],
        )


@dataclass(frozen=True)
class PreparedRows(Sequence[ClipInputs]):
    """The rows of a manifest, each prepared when it is asked for.

    Attributes:
        manifest: The corpus.
        spec: The preprocessing.
        tokenizer: Tokenizer of ``spec.text``; None if no text is read.
        cache: Where decoded inputs of clips are kept; without one, a clip is decoded every time.
    """

    manifest: Manifest
    spec: InputSpec
    tokenizer: Tokenizer | None
    cache: FeatureCache | None

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        return prepare_row(self.manifest, int(row), self.spec, self.tokenizer, self.cache)

    def __iter__(self) -> Iterator[ClipInputs]:
        return (self[row] for row in range(len(self)))


def _read_clip(
    path: str, spec: InputSpec, cache: FeatureCache | None
) -> dict[str, npt.NDArray[Any] | None]:
    """Return what a spec reads of a clip, by modality; with a cache, a clip is read once."""
    if cache is None:
        found, _ = read_arrays(path, spec)
        return found
    with suppress(OSError):  # the clip has gone
        if not all(cache.is_recorded(path, name) for name in spec.modalities):
            cache.write(*read_unchanged(path, spec))
        return {name: cache.load(path, name) for name in spec.modalities}
    return dict.fromkeys(spec.modalities)


def read_unchanged(
    path: str, spec: InputSpec, threads: Threads = "auto"
) -> tuple[str, dict[str, npt.NDArray[Any] | None], str]:
    """Read a clip, to be kept as what this very file has.

    Args:
        path: The clip.
        spec: What is read.
        threads: FFmpeg's threading of video.

    Returns:
        Identity of the clip, and what ``read_arrays`` returns: nothing and a refusal where another
        file has taken the clip's place meanwhile.

    Raises:
        OSError: There is no such clip.
    """
    identity = file_identity(path)
    found, refusal = read_arrays(path, spec, threads)
    if identity != (identity := file_identity(path)):
        return identity, dict.fromkeys(found), "The clip was replaced while it was read."
    return identity, found, refusal


def read_arrays(
    path: str, spec: InputSpec, threads: Threads = "auto"
) -> tuple[dict[str, npt.NDArray[Any] | None], str]:
    """Return what a spec reads of a clip, by modality, and why it cannot be read.

    A damaged or missing clip leaves its row the words; ``data check`` names it.
    """
    try:
        clip = read_clip(path, threads=threads, **spec.read_options())
    except MediaError as error:
        return dict.fromkeys(spec.modalities), str(error)
    inputs = prepare_clip(clip, None, spec, None)
    return {name: getattr(inputs, name) for name in spec.modalities}, ""
