"""How sure the numbers are: a bootstrap over source videos, never over clips.

Clips cut from one video share the person, the room and much of the rating, so they are no
independent evidence. Each draw therefore takes whole source videos with replacement, and every
metric is computed again on the drawn rows, exactly. Nothing is copied to do so:

- errors and correlations are functions of a few sums a source, so all draws are one matrix product;
- the concordance index is a ratio of two quadratic forms in how often each source was drawn;
- Spearman's ranks depend on the draw and are taken anew from the weighted rows.

Source: Field and Welsh 2007, Bootstrapping clustered data (the cluster bootstrap); Efron and
Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.evaluation import bootstrap_metrics as resampled
from mmperson.evaluation.arrays import Array, mean_known, score_table
from mmperson.evaluation.metrics import METRICS, average, per_trait
from mmperson.traits import TRAITS

LEVEL: Final = 0.95
"""Share of the draws that an interval holds."""

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
    """Compute every metric on resampled source videos.

    A trait is judged on the rows where it is rated. Two calls with the same sources, strata, draws
    and seed draw the same videos, so that their results can be subtracted draw by draw.

    Args:
        predictions: float (row, trait), in the order of ``TRAITS``.
        targets: float (row, trait); NaN where a row has no rating.
        sources: (row,), the source video or person of each row.
        train_mean: float (trait,), mean of the training targets, for ``skill``.
        strata: (row,), folds within which to draw and to judge; the folds' values are averaged.
        draws: Number of draws.
        seed: Seed of the draws.
        metrics: Names from ``METRICS``.

    Returns:
        Metric name to float64 (draw, trait); NaN for a trait without a rating, and for a draw that
        took no row with one.

    Raises:
        DataError: Shapes differ, a value that is judged is not finite, or in a stratum fewer than
            two sources have ratings of a trait that is rated there.
    """
    p, t, means = score_table(predictions), score_table(targets), np.asarray(train_mean, np.float64)
    source = np.asarray(sources)
    if not len(p) == len(t) == len(source):
        raise DataError(f"{len(p)} predictions, {len(t)} targets and {len(source)} sources differ.")
    known = ~np.isnan(t)
    judged = (p[known], t[known], means[known.any(axis=0)])
    if not all(np.isfinite(values).all() for values in judged):
        raise DataError("Predictions, targets and the training mean must be finite numbers.")
    rng = np.random.default_rng(seed)
    parts = [
        _bootstrap_stratum(p[rows], t[rows], source[rows], means, rng, draws, metrics)
        for rows in stratum_rows(strata, len(p))
    ]
    return {name: mean_known([part[name] for part in parts]) for name in metrics}


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
    # The draws are of all sources, so that the traits of a draw belong together.
    found = {name: np.full((draws, len(TRAITS)), np.nan) for name in metrics}
    for rows, traits in _rated(targets):
        drawn, starts, sizes = np.unique(source[rows], return_index=True, return_counts=True)
        if len(drawn) < 2:
            raise DataError(
                "An interval needs rated rows from at least two source videos; "
                f"{TRAITS[traits[0]]} has {len(drawn)}."
            )
        kept = counts[:, drawn].any(axis=1)
        sample = resampled.Sample(
            predictions[np.ix_(rows, traits)],
            targets[np.ix_(rows, traits)],
            starts,
            sizes,
            counts[:, drawn][kept].astype(np.float64),
        )
        values = _resampled(sample, train_mean[traits], metrics)
        for name in metrics:
            found[name][np.ix_(kept, traits)] = values[name]
    return found


def _rated(targets: Array) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return (rows, traits) such that the traits are rated in just these rows."""
    patterns, pattern = np.unique(~np.isnan(targets), axis=1, return_inverse=True)
    return [
        (np.flatnonzero(rows), np.flatnonzero(pattern.ravel() == i))
        for i, rows in enumerate(patterns.T)
        if rows.any()
    ]


def _resampled(
    sample: resampled.Sample, train_mean: Array, metrics: Sequence[str]
) -> dict[str, Array]:
    values = resampled.moment_metrics(sample, train_mean)
    if "spearman" in metrics:
        values["spearman"] = resampled.spearman(sample)
    if "cindex" in metrics:
        values["cindex"] = resampled.cindex(sample)
    return values


def percentile_intervals(draws: dict[str, Array]) -> Intervals:
    """Return the central 95 % of the draws, for each trait and for the mean over traits.

    Args:
        draws: Metric name to float64 (draw, trait), from ``bootstrap``; a trait that is NaN in
            every draw is left out of the mean, and a draw with NaN out of the percentiles.
    """
    rated = {name: v[:, ~np.isnan(v).all(axis=0)] for name, v in draws.items()}
    return {
        "mean": {
            name: _central(v.mean(axis=1) if v.size else np.empty(0)) for name, v in rated.items()
        },
        "traits": {
            trait: {name: _central(v[:, i]) for name, v in draws.items()}
            for i, trait in enumerate(TRAITS)
        },
    }


def _central(values: Array) -> list[float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return [np.nan, np.nan]
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]).tolist()
    return [low, high]


@dataclass(frozen=True)
class Difference:
    """How one set of predictions compares with another on the same rows, first minus second.

    Attributes:
        mean: Metric name to difference of the averages over traits.
        traits: Trait name to metric name to difference.
        intervals: 95 % intervals in the same layout, from paired draws.
    """

    mean: dict[str, float]
    traits: dict[str, dict[str, float]]
    intervals: Intervals

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON-ready values."""
        return {"mean": self.mean, "traits": self.traits, "intervals": self.intervals}


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

    Much sharper than holding two separate intervals against each other: a draw of hard videos is
    hard for both, and that common part cancels.

    Args:
        predictions_a: float (row, trait).
        predictions_b: float (row, trait).
        targets: float (row, trait).
        sources: (row,), the source video or person of each row.
        train_mean: float (trait,), mean of the training targets.
        strata: (row,), folds within which to draw and to judge.
        draws: Number of draws.
        seed: Seed of the draws.
        metrics: Names from ``METRICS``.

    Returns:
        A minus B. For ``mse`` a negative difference favours A, for every other metric a positive
        one.

    Raises:
        DataError: As ``bootstrap``.
    """
    draws_of, points_of = [], []
    for predictions in (predictions_a, predictions_b):
        draws_of.append(
            bootstrap(
                predictions,
                targets,
                sources,
                train_mean=train_mean,
                strata=strata,
                draws=draws,
                seed=seed,
                metrics=metrics,
            )
        )
        points_of.append(stratified(predictions, targets, train_mean, strata, metrics))
    a, b = points_of
    traits = {
        trait: {name: a[trait][name] - b[trait][name] for name in metrics} for trait in TRAITS
    }
    return Difference(
        mean=average(traits),
        traits=traits,
        intervals=percentile_intervals({n: draws_of[0][n] - draws_of[1][n] for n in metrics}),
    )


def stratified(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    train_mean: npt.ArrayLike,
    strata: npt.ArrayLike | None = None,
    metrics: Sequence[str] = tuple(METRICS),
) -> dict[str, dict[str, float]]:
    """Judge each trait within each stratum and average over the strata; see ``per_trait``."""
    p, t = score_table(predictions), score_table(targets)
    parts = [
        per_trait(p[rows], t[rows], train_mean, metrics) for rows in stratum_rows(strata, len(p))
    ]
    return {
        trait: {name: float(mean_known([part[trait][name] for part in parts])) for name in metrics}
        for trait in TRAITS
    }


def stratum_rows(strata: npt.ArrayLike | None, n: int) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of each stratum, by ascending label, or of all ``n`` rows."""
    if strata is None:
        return [np.arange(n)]
    labels = np.asarray(strata)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
