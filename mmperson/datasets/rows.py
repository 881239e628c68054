"""Manifest rows as network inputs, from published features or else from the clip."""

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
    """Prepare the inputs of one row; missing modalities are absent.

    Columns and published acoustic descriptors come from the manifest, everything else from the
    clip.

    Args:
        manifest: The corpus.
        row: Index of the row.
        spec: The preprocessing.
        tokenizer: Tokenizer of ``spec.text``; None without text.
        cache: Cache of decoded clips; None decodes the clip.

    Raises:
        DataError: The manifest lacks a column that the spec reads.
    """
    inputs = prepare_clip(None, manifest.transcript[row], spec, tokenizer)
    arrays, missing = published(manifest, row, spec)
    clip = manifest.clip[row]
    if clip is not None and missing:
        arrays |= _read_clip(clip, spec.subset(missing), cache)
    return replace(inputs, **arrays)


def published(manifest: Manifest, row: int, spec: InputSpec) -> tuple[dict[str, Any], list[str]]:
    """Return the published audio and video inputs of a row.

    Args:
        manifest: The corpus.
        row: Index of the row.
        spec: The preprocessing.

    Returns:
        Arrays by modality, None where columns are unknown; and the names of the modalities that
        must be read from the clip.

    Raises:
        DataError: The manifest lacks a column that the spec reads.
    """
    arrays: dict[str, Any] = {}
    missing = []
    for name, part in spec.parts.items():
        if part.source == "transcript":
            continue
        array = part.published(manifest, row)
        if array is None and part.source == "clip":
            missing.append(name)
        else:
            arrays[name] = array
    return arrays, missing


def require_clips(manifest: Manifest, spec: InputSpec) -> None:
    """Check that all clips of a manifest exist, if the spec reads clips.

    Otherwise a moved corpus would silently become text only.

    Raises:
        DataError: A clip is missing.
    """
    if all(part.source != "clip" for part in spec.parts.values()):
        return
    named = [clip for clip in manifest.clip if clip is not None]
    missing = [clip for clip in named if not os.path.isfile(clip)]  # Path raises on invalid names
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(named):,} clips in the manifest are missing.",
            hint="Restore them, or re-create the manifest with: mmperson data import",
            findings=missing[:10],
        )


@dataclass(frozen=True)
class PreparedRows(Sequence[ClipInputs]):
    """Inputs of the rows of a manifest, prepared on access; see ``prepare_row``."""

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
    """Return the inputs of a clip by modality; with a cache, the clip is decoded once."""
    if cache is None:
        return read_arrays(path, spec)[0]
    with suppress(OSError):  # the clip is missing
        if not all(cache.is_recorded(path, name) for name in spec.modalities):
            cache.write(*read_unchanged(path, spec))
        return {name: cache.load(path, name) for name in spec.modalities}
    return dict.fromkeys(spec.modalities)


def read_unchanged(
    path: str, spec: InputSpec, threads: Threads = "auto"
) -> tuple[str, dict[str, npt.NDArray[Any] | None], str]:
    """Read a clip, and reject it if the file changes meanwhile.

    Args:
        path: The clip.
        spec: The preprocessing.
        threads: FFmpeg's threading of video.

    Returns:
        Identity of the file, and arrays and error as ``read_arrays``.

    Raises:
        OSError: The clip does not exist.
    """
    identity = file_identity(path)
    arrays, error = read_arrays(path, spec, threads)
    if identity != (identity := file_identity(path)):
        return identity, dict.fromkeys(arrays), "The clip was replaced while it was read."
    return identity, arrays, error


def read_arrays(
    path: str, spec: InputSpec, threads: Threads = "auto"
) -> tuple[dict[str, npt.NDArray[Any] | None], str]:
    """Return the inputs of a clip by modality, and the error if it is unreadable.

    Such a row keeps its transcript; ``data check`` reports the clip.
    """
    try:
        clip = read_clip(path, threads=threads, **spec.read_options())
    except MediaError as error:
        return dict.fromkeys(spec.modalities), str(error)
    inputs = prepare_clip(clip, None, spec, None)
    return {name: getattr(inputs, name) for name in spec.modalities}, ""
