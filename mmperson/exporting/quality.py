"""Measure the quality of a bundle during export."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from mmperson.datasets.manifest import Manifest
from mmperson.errors import DataError, ExportError
from mmperson.evaluation.evaluate import evaluate_split
from mmperson.evaluation.scoring import score_bundle
from mmperson.inference.predictor import Predictor

MAX_ACCURACY_LOSS = 0.002
"""Maximum loss of 1-MAE through the export."""


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
        on_note: Called with notes for the user.

    Returns:
        For ``<split>, official`` and ``<split>, unseen``: ``n`` rows, ``mean`` over traits by
        metric and its ``intervals``. A protocol without suitable rows is omitted.

    Raises:
        ExportError: The loss is above ``MAX_ACCURACY_LOSS``, or rows lost their scores.
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
    error, original_error = (np.nanmean(np.abs(x - rows.targets)) for x in (scores, original))
    loss = float(error - original_error)
    on_note(f"1-MAE on {split}: the export loses {loss:+.5f}.")
    missing = int((np.isnan(scores) & ~np.isnan(original)).any(axis=1).sum())
    if missing or not loss <= MAX_ACCURACY_LOSS:
        raise ExportError(
            f"The bundle's 1-MAE on {split} is {loss:.4f} below the network's, and {missing} of "
            f"{len(rows)} rows lost their scores; {MAX_ACCURACY_LOSS} and 0 are allowed.",
            hint="Export with --precision fp32.",
        )
    return metrics
