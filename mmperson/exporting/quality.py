"""The quality of a bundle about to be written, and what its conversion may cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.manifest import Manifest
from mmperson.errors import DataError, ExportError
from mmperson.evaluation.evaluate import evaluate_split
from mmperson.evaluation.scoring import score_bundle
from mmperson.inference.predictor import Predictor

MAX_ACCURACY_LOSS: Final = 0.002
"""Largest loss of 1-MAE on the given split that a conversion may cost."""


def measure_quality(
    predictor: Predictor,
    manifest: Manifest,
    split: str,
    score_network: Callable[[Manifest], npt.NDArray[np.float64]],
    on_note: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Measure a bundle on a split, and compare its 1-MAE with that of the network.

    Args:
        predictor: The bundle.
        manifest: All rows; the training rows fit the baselines.
        split: Rows to measure on.
        score_network: Scores rows with the network, float64 (row, trait).
        on_note: Called with sentences that the user should read.

    Returns:
        For ``<split>, official`` and ``<split>, unseen``: ``n`` rows, ``mean`` over traits by
        metric and its ``intervals``. A protocol that cannot be judged is left out.

    Raises:
        ExportError: The loss is above ``MAX_ACCURACY_LOSS``, or rows have no scores any more.
    """
    rows = manifest.where_split(split)
    on_note(f"Measuring on {len(rows)} rows of {split} …")
    scores = score_bundle(predictor, rows)
    metrics: dict[str, Any] = {}
    for protocol in ("official", "unseen"):
        with suppress(DataError):  # no row is of an unseen source, or all are of one person
            result = evaluate_split(scores, manifest, split, protocol=protocol).to_dict()
            metrics[f"{split}, {protocol}"] = {
                "n": result["n"],
                "mean": result["mean"],
                "intervals": result["intervals"]["mean"],
            }
    original = score_network(rows)
    errors = (np.nanmean(np.abs(found - rows.targets)) for found in (scores, original))
    loss = float(next(errors) - next(errors))
    on_note(f"1-MAE on {split}: {loss:+.5f} lost by the export.")
    missing = int((np.isnan(scores) & ~np.isnan(original)).any(axis=1).sum())
    if missing or not loss <= MAX_ACCURACY_LOSS:
        raise ExportError(
            f"The bundle's 1-MAE on {split} is {loss:.4f} below the network's, and {missing} of "
            f"{len(rows)} rows have no scores any more; {MAX_ACCURACY_LOSS} and none are allowed.",
            hint="Export with --precision fp32.",
        )
    return metrics
