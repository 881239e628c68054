"""Bootstrap intervals over source videos.

Clips of one video share the person, the room and much of the rating, so they are not independent.
Each draw samples whole source videos with replacement and computes every metric exactly, without
copying rows:

- errors and correlations are functions of a few sums per source: one matrix product for all draws;
- the concordance index is a ratio of two quadratic forms in the counts of the sources;
- Spearman's ranks depend on the draw and are computed from the weighted rows.

Source: Field and Welsh 2007, Bootstrapping clustered data (the cluster bootstrap); Efron and
Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.evaluation import bootstrap_metrics as resampled
from mmperson.evaluation.arrays import Array, nan_mean, score_table
from mmperson.evaluation.metrics import METRICS, average, per_trait
from mmperson.traits import TRAITS

LEVEL: Final = 0.95
"""Coverage of the intervals."""

Intervals = dict[str, dict[str, Any]]
"""``{"mean": {metric: [low, high]}, "traits": {trait: {metric: [low, high]}}}``, [NaN, NaN] for a
trait without a rating."""


def bootstrap(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    sources: npt.ArrayLike,
    *,
    train_mean: npt.ArrayLike,
    strata: npt.ArrayLike | None = None,
    draws: int = 2_000,
    seed: int = 0,
    metrics: Sequence[str] = tuple(METRICS),
) -> dict[str, Array]:
    """Compute metrics on resampled source videos.

    Each trait uses the rows where it is rated. Calls with the same sources, strata, draws and seed
    draw the same videos, so that their results can be subtracted draw by draw.

    Args:
        predictions: float (row, trait), in the order of ``TRAITS``.
        targets: float (row, trait); NaN where a row has no rating.
        sources: (row,), source video or person of each row.
        train_mean: float (trait,), mean of the training targets, for ``skill``.
        strata: (row,), folds to resample within; the metric is the mean over folds.
        draws: Number of draws.
        seed: Seed of the draws.
        metrics: Names from ``METRICS``.

    Returns:
        Metric name to float64 (draw, trait); NaN where a draw has no rating of the trait.

    Raises:
        DataError: Shapes differ, a used value is not finite, or in a stratum only one source has
            ratings of a trait.
    """
    p, t, means = score_table(predictions), score_table(targets), np.asarray(train_mean, np.float64)
    source = np.asarray(sources)
    if not len(p) == len(t) == len(source):
        raise DataError(f"{len(p)} predictions, {len(t)} targets and {len(source)} sources differ.")
    known = ~np.isnan(t)
    used = (p[known], t[known], means[known.any(axis=0)])
    if not all(np.isfinite(values).all() for values in used):
        raise DataError("Predictions, targets and the training mean must be finite numbers.")
    rng = np.random.default_rng(seed)
    parts = [
        _bootstrap_stratum(p[rows], t[rows], source[rows], means, rng, draws, metrics)
        for rows in stratum_rows(strata, len(p))
    ]
    return {name: nan_mean([part[name] for part in parts]) for name in metrics}


def _bootstrap_stratum(
    predictions: Array,
    targets: Array,
    sources: npt.NDArray[Any],
    train_mean: Array,
    rng: np.random.Generator,
    draws: int,
    metrics: Sequence[str],
) -> dict[str, Array]:
    order = np.argsort(sources, kind="stable")
    predictions, targets, sources = predictions[order], targets[order], sources[order]
    names, source = np.unique(sources, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    # All traits of a draw share its sources, also those without a rating of some trait.
    results = {name: np.full((draws, len(TRAITS)), np.nan) for name in metrics}
    for rows, traits in _rating_patterns(targets):
        drawn, starts, sizes = np.unique(source[rows], return_index=True, return_counts=True)
        if len(drawn) < 2:
            raise DataError(
                "An interval needs ratings of at least two source videos; "
                f"{TRAITS[traits[0]]} has {len(drawn)}."
            )
        nonempty = counts[:, drawn].any(axis=1)
        sample = resampled.Sample(
            predictions[np.ix_(rows, traits)],
            targets[np.ix_(rows, traits)],
            starts,
            sizes,
            counts[:, drawn][nonempty].astype(np.float64),
        )
        values = resampled.moment_metrics(sample, train_mean[traits])
        if "spearman" in metrics:
            values["spearman"] = resampled.spearman(sample)
        if "cindex" in metrics:
            values["cindex"] = resampled.cindex(sample)
        for name in metrics:
            results[name][np.ix_(nonempty, traits)] = values[name]
    return results


def _rating_patterns(targets: Array) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Group the traits that are rated in the same rows; return (rows, traits) of each group."""
    patterns, pattern = np.unique(~np.isnan(targets), axis=1, return_inverse=True)
    return [
        (np.flatnonzero(rows), np.flatnonzero(pattern.ravel() == i))
        for i, rows in enumerate(patterns.T)
        if rows.any()
    ]


def percentile_intervals(draws: dict[str, Array]) -> Intervals:
    """Return 95 % percentile intervals, per trait and of the mean over traits.

    Args:
        draws: Metric name to float64 (draw, trait), from ``bootstrap``. The mean skips traits that
            are NaN in every draw; the percentiles skip NaN.
    """
    rated = {name: v[:, ~np.isnan(v).all(axis=0)] for name, v in draws.items()}
    return {
        "mean": {
            name: _interval(v.mean(axis=1) if v.size else np.empty(0)) for name, v in rated.items()
        },
        "traits": {
            trait: {name: _interval(v[:, i]) for name, v in draws.items()}
            for i, trait in enumerate(TRAITS)
        },
    }


def _interval(values: Array) -> list[float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return [np.nan, np.nan]
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]).tolist()
    return [low, high]


@dataclass(frozen=True)
class Difference:
    """Paired difference of two sets of predictions, A minus B.

    Attributes:
        mean: Metric name to difference of the averages over traits.
        traits: Trait name to metric name to difference.
        intervals: 95 % intervals in the same layout, from paired draws.
    """

    mean: dict[str, float]
    traits: dict[str, dict[str, float]]
    intervals: Intervals

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def paired_difference(
    predictions_a: npt.ArrayLike,
    predictions_b: npt.ArrayLike,
    targets: npt.ArrayLike,
    sources: npt.ArrayLike,
    *,
    train_mean: npt.ArrayLike,
    strata: npt.ArrayLike | None = None,
    draws: int = 2_000,
    seed: int = 0,
    metrics: Sequence[str] = tuple(METRICS),
) -> Difference:
    """Compare two sets of predictions for the same rows, draw by draw.

    This is more precise than comparing two separate intervals: the difficulty of a draw cancels.

    Args:
        predictions_a: float (row, trait).
        predictions_b: float (row, trait).
        targets: As for ``bootstrap``, and so are the other arguments.
        sources: See ``bootstrap``.
        train_mean: See ``bootstrap``.
        strata: See ``bootstrap``.
        draws: See ``bootstrap``.
        seed: See ``bootstrap``.
        metrics: See ``bootstrap``.

    Returns:
        A minus B. For ``mse`` a negative difference favours A, for every other metric a positive
        one.

    Raises:
        DataError: See ``bootstrap``.
    """
    settings: dict[str, Any] = {"train_mean": train_mean, "strata": strata, "metrics": metrics}
    pair = (predictions_a, predictions_b)
    a, b = (stratified(p, targets, **settings) for p in pair)
    draws_a, draws_b = (
        bootstrap(p, targets, sources, draws=draws, seed=seed, **settings) for p in pair
    )
    traits = {
        trait: {name: a[trait][name] - b[trait][name] for name in metrics} for trait in TRAITS
    }
    return Difference(
        mean=average(traits),
        traits=traits,
        intervals=percentile_intervals({n: draws_a[n] - draws_b[n] for n in metrics}),
    )


def stratified(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    train_mean: npt.ArrayLike,
    strata: npt.ArrayLike | None = None,
    metrics: Sequence[str] = tuple(METRICS),
) -> dict[str, dict[str, float]]:
    """Compute ``per_trait`` in each stratum and average over the strata."""
    p, t = score_table(predictions), score_table(targets)
    parts = [
        per_trait(p[rows], t[rows], train_mean, metrics) for rows in stratum_rows(strata, len(p))
    ]
    return {
        trait: {name: float(nan_mean([part[trait][name] for part in parts])) for name in metrics}
        for trait in TRAITS
    }


def stratum_rows(strata: npt.ArrayLike | None, n: int) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of each stratum, by ascending label, or of all ``n`` rows."""
    if strata is None:
        return [np.arange(n)]
    labels = np.asarray(strata)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
