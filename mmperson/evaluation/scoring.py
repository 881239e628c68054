"""A bundle's scores for the rows of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmperson.data.manifest import Manifest
from mmperson.data.rows import prepare_row, require_clips
from mmperson.errors import MissingStream
from mmperson.runtime.predictor import Predictor, load
from mmperson.schema import MODALITIES
from mmperson.traits import TRAITS


def score_bundle(
    bundle: str | Path | Predictor,
    manifest: Manifest,
    modalities: Sequence[str] | None = None,
) -> npt.NDArray[np.float64]:
    """Score every row, one by one, as ``predict`` would.

    Args:
        bundle: Name or folder of a bundle, or an open predictor.
        manifest: Rows; published descriptors are used where a row has them, else its clip.
        modalities: Modalities to use; None for all that the bundle reads.

    Returns:
        float64 (row, trait), about [0, 1]; NaN where a row has nothing to score.

    Raises:
        DataError: The manifest names a clip that is not there.
    """
    predictor = bundle if isinstance(bundle, Predictor) else load(bundle)
    require_clips(manifest, predictor.spec)
    scores = np.full((len(manifest), len(TRAITS)), np.nan)
    for row in range(len(manifest)):
        inputs = prepare_row(manifest, row, predictor.spec, predictor.tokenizer)
        try:
            scores[row] = predictor.score(inputs, modalities or MODALITIES)[: len(TRAITS)]
        except MissingStream:
            continue
    return scores
