"""One manifest row as network inputs: published features first, else the clip itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from mmperson.data.cache import FeatureCache
from mmperson.data.manifest import Manifest
from mmperson.errors import MediaError
from mmperson.inputs.clip import ClipInputs, prepare_clip
from mmperson.inputs.spec import DescriptorSpec, InputSpec
from mmperson.media import AudioWindow, read_clip


def prepare_row(
    manifest: Manifest,
    row: int,
    spec: InputSpec,
    tokenizer: Tokenizer | None,
    cache: FeatureCache | None = None,
) -> ClipInputs:
    """Prepare one row; what it lacks is absent.

    Audio comes from the manifest's descriptors where it has them, else from the clip's sound.

    Args:
        manifest: The corpus.
        row: Index of the row.
        spec: The preprocessing.
        tokenizer: Tokenizer of ``spec.text``; None if no text is read.
        cache: Where descriptors of clips are kept; None computes them anew.
    """
    inputs = prepare_clip(None, manifest.transcript[row], spec, tokenizer)
    if spec.audio is None:
        return inputs
    published = manifest.descriptors[row]
    if np.isfinite(published).all():
        return replace(inputs, audio=published.astype(np.float32))
    clip = manifest.clip[row]
    if clip is None:
        return inputs
    return replace(inputs, audio=_clip_descriptors(clip, spec.audio, cache))


def _clip_descriptors(
    path: str, spec: DescriptorSpec, cache: FeatureCache | None
) -> npt.NDArray[np.float32] | None:
    try:
        kept = cache.load(path, "audio") if cache is not None else None
        if kept is not None:
            return kept
        clip = read_clip(path, audio=AudioWindow(spec.source_rate_hz, duration_s=spec.window_s))
    except (MediaError, OSError):
        return None  # A damaged or missing clip leaves the row its text; `data check` names it.
    audio = prepare_clip(clip, None, InputSpec(audio=spec), None).audio
    if cache is not None and audio is not None:
        cache.store(path, "audio", audio)
    return audio
