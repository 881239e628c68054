"""Judge several systems on the same rows; imported by the scripts of this folder."""

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


def shared(recipe: Recipe, folder: Path) -> Recipe:
    """Let all runs share what frozen encoders have said."""
    run = recipe.run.model_copy(update={"cache": folder / "cache", "threads": 1})
    return recipe.model_copy(update={"run": run})


def learnable(run: Path) -> int:
    """Count the parameters that training changes."""
    network = load_network(run).network
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def summary(scores: Sequence[Scores], rows: Manifest) -> dict[str, list[float]]:
    """Return each metric's mean over traits, a value per seed."""
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for predictions in scores:
        judged = evaluate(
            predictions, rows.targets, rows.source_id, train_mean=rows.targets.mean(axis=0), draws=1
        )
        for metric in METRICS:
            found[metric].append(judged.mean[metric])
    return found


def judge(
    scores: Sequence[Scores],
    base: Sequence[Scores] | None,
    rows: Manifest,
    learned: Manifest,
    mask: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Judge a system's seeds, and the mean of their scores with intervals.

    Args:
        scores: A table per seed, float (row, trait).
        base: The same of the system that it is compared with; None for that system itself.
        rows: What was scored.
        learned: The training rows.
        mask: bool (row,), the rows that count.

    Returns:
        Plain values; ``difference`` only with a base, from the means over seeds of both.
    """
    part = rows.select(mask)
    seeds = summary([predictions[mask] for predictions in scores], part)
    mean = np.mean(scores, axis=0)[mask]
    train_mean = learned.targets.mean(axis=0)
    judged = evaluate(mean, part.targets, part.source_id, train_mean=train_mean)
    spread = min(1, len(scores) - 1)
    row: dict[str, Any] = {
        "n": judged.n,
        "seeds": seeds,
        "mean": {metric: float(np.mean(values)) for metric, values in seeds.items()},
        "sd": {metric: float(np.std(values, ddof=spread)) for metric, values in seeds.items()},
        "ensemble": {metric: judged.mean[metric] for metric in METRICS},
        "intervals": {metric: judged.intervals["mean"][metric] for metric in METRICS},
    }
    if base is not None:
        other = np.mean(base, axis=0)[mask]
        row["difference"] = paired_difference(
            mean, other, part.targets, part.source_id, train_mean=train_mean, metrics=METRICS
        ).to_dict()
    return row


def cells(row: dict[str, Any]) -> list[str]:
    """Return the metrics of a row for a table, mean and standard deviation over seeds."""
    return [f"{row['mean'][metric]:.4f} ± {row['sd'][metric]:.4f}" for metric in METRICS]


def versus(difference: dict[str, Any]) -> str:
    """Return a difference in R2 for a table, with its interval."""
    low, high = difference["intervals"]["mean"]["r2"]
    noise = " (noise)" if low <= 0 <= high else ""
    return f"{difference['mean']['r2']:+.3f} [{low:+.3f}, {high:+.3f}]{noise}"
