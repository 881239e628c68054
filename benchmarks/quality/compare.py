"""Judge several systems on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmperson.config import Recipe
from mmperson.datasets import Manifest
from mmperson.evaluation.bootstrap import paired_difference
from mmperson.evaluation.evaluate import evaluate
from mmperson.models.checkpoint import load_network

METRICS = ("accuracy", "r2", "pcc", "ccc")

Scores = npt.NDArray[np.float64]


def share_cache(recipe: Recipe, folder: Path) -> Recipe:
    """Let all runs share the features of frozen encoders."""
    run = recipe.run.model_copy(update={"cache": folder / "cache", "threads": 1})
    return recipe.model_copy(update={"run": run})


def count_trainable(run: Path) -> int:
    """Count the parameters that training changes."""
    network = load_network(run).network
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def summary(scores: Sequence[Scores], rows: Manifest) -> dict[str, list[float]]:
    """Return each metric's mean over traits, a value per seed."""
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for predictions in scores:
        evaluation = evaluate(
            predictions, rows.targets, rows.source_id, train_mean=rows.targets.mean(axis=0), draws=1
        )
        for metric in METRICS:
            found[metric].append(evaluation.mean[metric])
    return found


def evaluate_seeds(
    scores: Sequence[Scores],
    base: Sequence[Scores] | None,
    rows: Manifest,
    train_rows: Manifest,
    mask: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Evaluate a system's seeds, and the mean of their scores with intervals.

    Args:
        scores: A table per seed, float (row, trait).
        base: The same of the system that it is compared with; None for that system itself.
        rows: What was scored.
        train_rows: The training rows.
        mask: bool (row,), the rows that count.

    Returns:
        Plain values; ``difference`` only with a base, from the means over seeds of both.
    """
    part = rows.select(mask)
    seeds = summary([predictions[mask] for predictions in scores], part)
    mean = np.mean(scores, axis=0)[mask]
    train_mean = train_rows.targets.mean(axis=0)
    evaluation = evaluate(mean, part.targets, part.source_id, train_mean=train_mean)
    spread = min(1, len(scores) - 1)
    row: dict[str, Any] = {
        "n": evaluation.n,
        "seeds": seeds,
        "mean": {metric: float(np.mean(values)) for metric, values in seeds.items()},
        "sd": {metric: float(np.std(values, ddof=spread)) for metric, values in seeds.items()},
        "ensemble": {metric: evaluation.mean[metric] for metric in METRICS},
        "intervals": {metric: evaluation.intervals["mean"][metric] for metric in METRICS},
    }
    if base is not None:
        other = np.mean(base, axis=0)[mask]
        row["difference"] = paired_difference(
            mean, other, part.targets, part.source_id, train_mean=train_mean, metrics=METRICS
        ).to_dict()
    return row
