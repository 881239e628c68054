"""The metrics of ``metrics.py`` on many resamples at once, exactly as on the repeated rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.evaluation.arrays import Array, concordance

_CELLS_AT_ONCE: Final = 400_000
"""Weights (draw × row) per block, so that a block fits into the processor's cache."""

_PAIRS_AT_ONCE: Final = 4_000_000
_NO_VARIANCE: Final = 1e-12
"""Variance over mean square below which a resample counts as constant (rounding noise)."""


@dataclass(frozen=True)
class Sample:
    """Rows sorted by source, and the counts of the sources in each draw.

    Attributes:
        predictions: float64 (row, trait).
        targets: float64 (row, trait).
        starts: int64 (source,), first row of each source.
        sizes: int64 (source,), rows of each source.
        counts: float64 (draw, source), integers from 0.
    """

    predictions: Array
    targets: Array
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    counts: Array


def moment_metrics(sample: Sample, train_mean: Array) -> dict[str, Array]:
    """Compute accuracy, mse, r2, pcc, ccc and skill from sums per source.

    Args:
        sample: Rows and draws.
        train_mean: float64 (trait,), mean of the training targets.

    Returns:
        Metric name to float64 (draw, trait).
    """
    # Sums of squares lose digits far from zero; subtracting the median keeps the variance.
    p_shift, t_shift = np.median(sample.predictions, axis=0), np.median(sample.targets, axis=0)
    p, t = sample.predictions - p_shift, sample.targets - t_shift
    error = sample.predictions - sample.targets
    terms = np.stack(
        [
            np.ones_like(p),
            *(p, t, p * p, t * t, p * t),
            *(np.abs(error), error * error, np.abs(train_mean - sample.targets)),
        ],
        axis=1,
    )
    sums = np.add.reduceat(terms, sample.starts, axis=0)
    drawn = np.tensordot(sample.counts, sums, axes=1)
    means = drawn[:, 1:] / drawn[:, :1]
    p_mean, t_mean, p_square, t_square, product, absolute, square, reference = np.moveaxis(
        means, 1, 0
    )

    p_variance = _variance(p_square, p_mean)
    t_variance = _variance(t_square, t_mean)
    covariance = product - p_mean * t_mean
    varied = (p_variance > 0) & (t_variance > 0)
    shift = (p_mean + p_shift) - (t_mean + t_shift)
    return {
        "accuracy": 1.0 - absolute,
        "mse": square,
        "r2": _ratio(t_variance - square, t_variance, t_variance > 0),
        "pcc": np.clip(_ratio(covariance, np.sqrt(p_variance * t_variance), varied), -1.0, 1.0),
        "ccc": _ratio(2.0 * covariance, p_variance + t_variance + shift**2, varied),
        "skill": _ratio(reference - absolute, reference, reference > 0),
    }


def spearman(sample: Sample) -> Array:
    """Compute Spearman's correlation with the ranks of each draw, float64 (draw, trait)."""
    values = np.empty((len(sample.counts), sample.targets.shape[1]))
    for block, weights in _weight_blocks(sample):
        for trait in range(values.shape[1]):
            p, p_variance = _centred_ranks(weights, sample.predictions[:, trait])
            t, t_variance = _centred_ranks(weights, sample.targets[:, trait])
            covariance = (weights * p * t).sum(axis=1)
            varied = (p_variance > 0) & (t_variance > 0)
            values[block, trait] = _ratio(covariance, np.sqrt(p_variance * t_variance), varied)
    return np.clip(values, -1.0, 1.0)


def cindex(sample: Sample) -> Array:
    """Compute the concordance index, float64 (draw, trait).

    A draw with three copies of source a and two of source b has six copies of each pair of their
    rows, so the agreement is a quadratic form in the counts. Copies of one row have equal targets
    and do not count.
    """
    values = np.empty((len(sample.counts), sample.targets.shape[1]))
    for trait in range(values.shape[1]):
        agreement = _agreement(sample, trait)
        comparable = _comparable(sample, trait)
        values[:, trait] = np.where(comparable > 0, agreement / np.maximum(comparable, 1.0), 0.5)
    return values


def _agreement(sample: Sample, trait: int) -> Array:
    """Return the number of concordant pairs (draw,), with 1/2 for tied predictions."""
    p, t = sample.predictions[:, trait], sample.targets[:, trait]
    agreement = np.zeros(len(sample.counts))
    for sources in _source_blocks(sample.sizes):
        first = sample.starts[sources.start]
        rows = slice(first, first + int(sample.sizes[sources].sum()))
        pairs = concordance(p[rows], t[rows], p, t)
        pairs = np.add.reduceat(pairs, sample.starts[sources] - first, axis=0)
        pairs = np.add.reduceat(pairs, sample.starts, axis=1).astype(np.float64)
        agreement += ((sample.counts[:, sources] @ pairs) * sample.counts).sum(axis=1)
    return agreement


def _comparable(sample: Sample, trait: int) -> Array:
    """Return the number of pairs with different targets (draw,)."""
    order, first, _ = _ties(sample.targets[:, trait])
    pairs = np.empty(len(sample.counts))
    for block, weights in _weight_blocks(sample):
        size = np.add.reduceat(weights[:, order], first, axis=1)
        pairs[block] = (size.sum(axis=1) ** 2 - (size**2).sum(axis=1)) / 2
    return pairs


def _weight_blocks(sample: Sample) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of draws with the counts of every row, float64 (block, row)."""
    step = max(1, _CELLS_AT_ONCE // len(sample.targets))
    for start in range(0, len(sample.counts), step):
        block = slice(start, start + step)
        yield block, np.repeat(sample.counts[block], sample.sizes, axis=1)


def _source_blocks(sizes: npt.NDArray[np.int64]) -> list[slice]:
    """Split the sources into blocks of at most ``_PAIRS_AT_ONCE`` pairs with all rows."""
    rows_at_once = max(1, _PAIRS_AT_ONCE // int(sizes.sum()))
    block = np.cumsum(sizes) // rows_at_once
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(sizes)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _ties(values: Array) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the sort order, the start of each run of equal values in it, and each row's run."""
    order = np.argsort(values)
    _, first, group = np.unique(values[order], return_index=True, return_inverse=True)
    run = np.empty_like(group)
    run[order] = group
    return order, first, run


def _centred_ranks(weights: Array, values: Array) -> tuple[Array, Array]:
    """Return centred weighted midranks (draw, row) and their weighted sum of squares (draw,)."""
    order, first, run = _ties(values)
    size = np.add.reduceat(weights[:, order], first, axis=1)
    through = np.cumsum(size, axis=1)
    ranks = through - (size + through[:, -1:]) / 2
    return ranks[:, run], (size * ranks**2).sum(axis=1)


def _variance(mean_square: Array, mean: Array) -> Array:
    variance = mean_square - mean**2
    return np.where(variance > _NO_VARIANCE * mean_square, variance, 0.0)


def _ratio(numerator: Array, denominator: Array, defined: npt.NDArray[np.bool_]) -> Array:
    """Divide where defined; 0.0 elsewhere, as the plain metrics do."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=defined)
