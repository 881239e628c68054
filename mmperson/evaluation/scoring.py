"""Score the rows of a manifest with a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.decoding import decoded
from mmperson.datasets.manifest import Manifest
from mmperson.datasets.rows import prepare_row, require_clips
from mmperson.errors import MissingStream
from mmperson.inference.predictor import Predictor, load
from mmperson.schema import MODALITIES
from mmperson.traits import TRAITS

_ROWS_AT_ONCE: Final = 256


def score_bundle(
    bundle: str | Path | Predictor,
    manifest: Manifest,
    modalities: Sequence[str] | None = None,
) -> npt.NDArray[np.float64]:
    """Score every row as ``predict`` would.

    Worker processes decode blocks of clips into a temporary folder; a clip that crashes its worker
    is scored by its transcript only.

    Args:
        bundle: Name or folder of a bundle, or an open predictor.
        manifest: The rows; published descriptors take precedence over the clip.
        modalities: Modalities to use; None for all of the bundle.

    Returns:
        float64 (row, trait), about [0, 1]; NaN without any usable modality.

    Raises:
        DataError: A clip is missing.
        UsageError: The temporary folder cannot be written.
    """
    predictor = bundle if isinstance(bundle, Predictor) else load(bundle)
    require_clips(manifest, predictor.spec)  # all clips, before decoding starts
    scores = np.full((len(manifest), len(TRAITS)), np.nan)
    for start in range(0, len(manifest), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(manifest)))
        part = manifest.select(rows)
        with decoded(part, predictor.spec) as cache:
            for row, target in enumerate(rows):
                inputs = prepare_row(part, row, predictor.spec, predictor.tokenizer, cache)
                with suppress(MissingStream):
                    result = predictor.score(inputs, modalities or MODALITIES)
                    scores[target] = result[: len(TRAITS)]
    return scores
