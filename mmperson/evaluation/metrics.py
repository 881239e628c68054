"""Eight metrics per trait, and their averages over traits.

Every metric takes ``predictions`` and ``targets`` of one trait, float (row,), and returns a float;
they raise ``DataError`` if the shapes differ or there is no row. Metrics are computed per trait and
averaged: pooling the traits into one array would reward knowing that their means differ.

Undefined metrics (constant predictions or targets) have a documented value, without a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.evaluation.arrays import Array, column_pair, concordance, nan_mean, score_table
from mmperson.traits import TRAITS

_PAIRS_AT_ONCE: Final = 4_000_000
"""Pairs per block, to limit the memory of the concordance index to some tens of MB."""

_NO_VARIANCE: Final = 1e-9
"""Share of variance below which it is rounding noise."""


def one_minus_mae(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the challenge's accuracy, 1 - mean |p - t|, for values on [0, 1].

    It is a weak metric: on First Impressions V2 a constant scores 0.88. Compare ``skill``.

    Returns:
        At most 1, higher is better.

    Source:
        Ponce-López et al. 2016, ChaLearn LAP 2016: First Round Challenge on First Impressions.

    >>> one_minus_mae([0.5, 0.6], [0.4, 0.9])
    0.8
    """
    p, t = column_pair(predictions, targets)
    return 1.0 - _mean_absolute(p - t)


def mse(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the mean squared error, mean (p - t)².

    Returns:
        At least 0, lower is better.

    >>> mse([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 6.0])
    1.5
    """
    p, t = column_pair(predictions, targets)
    return float(np.mean((p - t) ** 2))


def r2(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the coefficient of determination, 1 - Σ(p - t)² / Σ(t - mean t)².

    Returns:
        At most 1; 0 for the mean of the targets, negative for worse; 0.0 for constant targets.

    Source:
        Kvålseth 1985, Cautionary Note about R², its R² of the first kind.

    >>> round(r2([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 6.0]), 6)
    0.571429
    """
    p, t = column_pair(predictions, targets)
    if _constant(t):
        return 0.0
    return float(1.0 - np.sum((p - t) ** 2) / np.sum((t - t.mean()) ** 2))


def pcc(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return Pearson's correlation, cov(p, t) / (sd p · sd t).

    Returns:
        Within [-1, 1]; 0.0 if either side is constant.

    Source:
        Pearson 1895, Note on regression and inheritance in the case of two parents.

    >>> round(pcc([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 6.0]), 6)
    0.83666
    """
    p, t = column_pair(predictions, targets)
    if _constant(p) or _constant(t):
        return 0.0
    p, t = p - p.mean(), t - t.mean()
    return float(np.clip((p @ t) / np.sqrt((p @ p) * (t @ t)), -1.0, 1.0))


def ccc(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return Lin's concordance correlation, 2 cov(p, t) / (var p + var t + (mean p - mean t)²).

    Unlike Pearson's it drops when predictions are shifted or scaled. Moments divide by the number
    of rows.

    Returns:
        Within [-1, 1]; 0.0 if either side is constant.

    Source:
        Lin 1989, A concordance correlation coefficient to evaluate reproducibility.

    >>> round(ccc([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 6.0]), 6)
    0.7
    """
    p, t = column_pair(predictions, targets)
    if _constant(p) or _constant(t):
        return 0.0
    covariance = np.mean((p - p.mean()) * (t - t.mean()))
    return float(2.0 * covariance / (p.var() + t.var() + (p.mean() - t.mean()) ** 2))


def spearman(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation: Pearson's of the ranks, with mean ranks for ties.

    Returns:
        Within [-1, 1]; 0.0 if either side is constant.

    Source:
        Spearman 1904, The proof and measurement of association between two things.

    >>> round(spearman([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 6.0]), 6)
    0.8
    """
    p, t = column_pair(predictions, targets)
    return pcc(_midranks(p), _midranks(t))


def partial_spearman(
    predictions: npt.ArrayLike, targets: npt.ArrayLike, given: npt.ArrayLike
) -> float:
    r"""Return Spearman's partial rank correlation given a third variable.

    .. math:: r_{pt \cdot g} = \frac{r_{pt} - r_{pg} r_{tg}}{\sqrt{(1 - r_{pg}^2)(1 - r_{tg}^2)}}

    Args:
        predictions: float (row,).
        targets: float (row,).
        given: float (row,), the third variable, such as the word count.

    Returns:
        Within [-1, 1]; 0.0 if the third variable ranks the rows as either side does.

    Source:
        Kendall 1942, Partial rank correlation, by the formula for Spearman's coefficient.

    >>> partial_spearman([1, 2, 3, 4], [2, 1, 3, 4], [1, 2, 3, 4])
    0.0
    """
    with_given = spearman(predictions, given), spearman(targets, given)
    unexplained = float(np.prod([1.0 - r**2 for r in with_given]))
    if unexplained < _NO_VARIANCE:
        return 0.0
    covariance = spearman(predictions, targets) - with_given[0] * with_given[1]
    return float(np.clip(covariance / np.sqrt(unexplained), -1.0, 1.0))


def cindex(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the concordance index: the share of row pairs whose predictions are in target order.

    Tied predictions count 1/2; pairs with equal targets do not count. It equals (1 + D) / 2, with D
    Somers' D of the predictions given the targets. The time is quadratic (0.4 s for 10,000 rows).

    Returns:
        Within [0, 1]; 0.5 is chance, also for constant predictions or targets.

    Source:
        Harrell, Lee and Mark 1996, Multivariable prognostic models, section 5.5.

    >>> cindex([1.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.8333333333333334
    """
    p, t = column_pair(predictions, targets)
    _, ties = np.unique(t, return_counts=True)
    comparable = (len(t) ** 2 - int(np.sum(ties**2))) / 2
    if not comparable:
        return 0.5
    step = max(1, _PAIRS_AT_ONCE // len(p))
    blocks = [slice(start, start + step) for start in range(0, len(p), step)]
    return float(
        sum(concordance(p[b], t[b], p, t).sum(dtype=np.float64) for b in blocks) / comparable
    )


def skill(predictions: npt.ArrayLike, targets: npt.ArrayLike, train_mean: float) -> float:
    """Return the skill score, 1 - MAE / MAE of the constant ``train_mean``.

    Args:
        predictions: float (row,).
        targets: float (row,).
        train_mean: Mean of the training targets.

    Returns:
        At most 1; 0 is no better than the constant; 0.0 if the constant has no error.

    Source:
        Murphy 1988, Skill scores based on the mean square error; here with absolute errors.

    >>> round(skill([0.5, 0.6], [0.4, 0.9], train_mean=0.5), 6)
    0.2
    """
    p, t = column_pair(predictions, targets)
    reference = _mean_absolute(train_mean - t)
    return 1.0 - _mean_absolute(p - t) / reference if reference else 0.0


METRICS: Final[dict[str, Callable[[Array, Array, float], float]]] = {
    "accuracy": lambda p, t, _: one_minus_mae(p, t),
    "mse": lambda p, t, _: mse(p, t),
    "r2": lambda p, t, _: r2(p, t),
    "pcc": lambda p, t, _: pcc(p, t),
    "ccc": lambda p, t, _: ccc(p, t),
    "spearman": lambda p, t, _: spearman(p, t),
    "cindex": lambda p, t, _: cindex(p, t),
    "skill": skill,
}
"""Metric by name: (predictions, targets, training mean) of one trait to value."""


def per_trait(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    train_mean: npt.ArrayLike,
    metrics: Sequence[str] = tuple(METRICS),
) -> dict[str, dict[str, float]]:
    """Compute metrics of each trait on the rows where it is rated.

    Args:
        predictions: float (row, trait), on [0, 1], in the order of ``TRAITS``.
        targets: float (row, trait), on [0, 1]; NaN where a row has no rating.
        train_mean: float (trait,), mean of the training targets.
        metrics: Names from ``METRICS``.

    Returns:
        Trait name to metric name to value; NaN for a trait without ratings.

    Raises:
        DataError: The shapes differ or there is no row.
    """
    p, t = score_table(predictions), score_table(targets)
    if p.shape != t.shape or not len(t):
        raise DataError(f"{len(p)} predictions and {len(t)} targets cannot be compared.")
    means = np.asarray(train_mean, dtype=np.float64)
    known = ~np.isnan(t)
    traits: dict[str, dict[str, float]] = {}
    for i, trait in enumerate(TRAITS):
        rows = known[:, i]
        of_trait = (p[rows, i], t[rows, i], float(means[i]))
        traits[trait] = {
            name: METRICS[name](*of_trait) if rows.any() else np.nan for name in metrics
        }
    return traits


def average(traits: dict[str, dict[str, float]]) -> dict[str, float]:
    """Average each metric of ``per_trait`` over the rated traits."""
    names = next(iter(traits.values()))
    return {name: float(nan_mean([v[name] for v in traits.values()])) for name in names}


def _mean_absolute(errors: Array) -> float:
    return float(np.mean(np.abs(errors)))


def _constant(values: Array) -> bool:
    # Not the variance: centring a constant can leave correlated rounding noise.
    return bool(np.ptp(values) == 0)


def _midranks(values: Array) -> Array:
    """Return ranks from 1, with mean ranks for ties."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    return np.asarray((last - (size - 1) / 2)[group], dtype=np.float64)
