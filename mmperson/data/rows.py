"""One manifest row as network inputs: published features first, else the clip itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from mmperson.data.cache import FeatureCache
from mmperson.data.manifest import Manifest
from mmperson.errors import DataError, MediaError
from mmperson.inputs.clip import ClipInputs, prepare_clip
from mmperson.inputs.spec import ColumnSpec, DescriptorSpec, InputSpec
from mmperson.media import read_clip

_CLIP_MODALITIES = ("video", "audio")


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
    found: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for name in _CLIP_MODALITIES:
        part = getattr(spec, name)
        if isinstance(part, ColumnSpec):
            found[name] = _columns(manifest, row, part)
        elif isinstance(part, DescriptorSpec) and np.isfinite(manifest.descriptors[row]).all():
            found[name] = manifest.descriptors[row].astype(np.float32)
        elif part is not None:
            wanted[name] = part
    clip = manifest.clip[row]
    if clip is not None and wanted:
        found |= _read_clip(clip, InputSpec(**wanted), cache)
    return replace(inputs, **found)


def require_clips(manifest: Manifest, spec: InputSpec) -> None:
    """Refuse a manifest that names clips which are not there, if a spec reads clips.

    Otherwise a corpus that has moved would turn into one of text alone without a word.

    Raises:
        DataError: A clip is missing.
    """
    decoded = (part for part in (spec.video, spec.audio) if part is not None)
    if all(isinstance(part, ColumnSpec) for part in decoded):
        return
    named = [clip for clip in manifest.clip if clip is not None]
    missing = [clip for clip in named if not os.path.isfile(clip)]  # Path fails on odd names
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(named):,} clips that the manifest names are not there.",
            hint="Put them back, or make the manifest anew with: mmperson data import",
            findings=missing[:10],
        )


def cache_clips(
    manifest: Manifest, spec: InputSpec, cache: FeatureCache, on_row: Callable[[int], object]
) -> int:
    """Keep what a spec reads of the clips of a manifest; what is kept already is not read again.

    Args:
        manifest: The rows.
        spec: The preprocessing.
        cache: Where to.
        on_row: Told after every row how many are done.

    Returns:
        How many rows have neither a picture nor a sound.

    Raises:
        DataError: A clip is missing, or a column.
        UsageError: The cache cannot be written.
    """
    require_clips(manifest, spec)
    unread = 0
    for row in range(len(manifest)):
        inputs = prepare_row(manifest, row, spec.model_copy(update={"text": None}), None, cache)
        unread += inputs.video is None and inputs.audio is None
        on_row(row + 1)
    return unread


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


def _columns(manifest: Manifest, row: int, spec: ColumnSpec) -> npt.NDArray[np.float32] | None:
    missing = [name for name in spec.columns if name not in manifest.extras]
    if missing:
        raise DataError(
            f"The manifest has no column {', '.join(map(repr, missing))}.",
            hint=f"It has {', '.join(sorted(manifest.extras)) or 'no extra columns'}.",
        )
    values = np.array([manifest.extras[name][row] for name in spec.columns], dtype=np.float32)
    return values if np.isfinite(values).any() else None


def _read_clip(
    path: str, spec: InputSpec, cache: FeatureCache | None
) -> dict[str, npt.NDArray[Any] | None]:
    """Return what a spec reads of a clip, by modality; decoded at most once."""
    try:
        if cache is not None:
            kept = {name: cache.load(path, name) for name in spec.modalities}
            if all(array is not None for array in kept.values()):
                return kept
        clip = read_clip(path, **spec.reading())
    except (MediaError, OSError):
        # A damaged or missing clip leaves the row its text; `data check` names it.
        return dict.fromkeys(spec.modalities)
    inputs = prepare_clip(clip, None, spec, None)
    found = {name: getattr(inputs, name) for name in spec.modalities}
    for name, array in found.items():
        if cache is not None and array is not None:
            cache.store(path, name, array)
    return found
