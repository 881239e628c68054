"""Score arrays, shared by the metrics and their bootstrap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.traits import TRAITS

Array = npt.NDArray[np.float64]


def score_table(values: npt.ArrayLike) -> Array:
    """Return scores as float64 (row, trait); raise ``DataError`` for another shape."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(TRAITS):
        raise DataError(f"Scores have the shape {table.shape}; (rows, {len(TRAITS)}) is needed.")
    return table


def column_pair(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Array, Array]:
    """Return two columns as float64 (row,); raise ``DataError`` for other shapes."""
    p, t = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if p.ndim != 1 or p.shape != t.shape or not len(p):
        raise DataError(
            f"Predictions of shape {p.shape} and targets of shape {t.shape} differ; two "
            "1-D arrays of equal length with at least one row are needed."
        )
    return p, t


def nan_mean(values: npt.ArrayLike) -> Array:
    """Average over the first axis without NaN; like ``np.nanmean``, but without its warning.

    Args:
        values: float, any shape.

    Returns:
        float64, one axis less; NaN where all values are NaN.
    """
    table = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(table)
    count = np.asarray(known.sum(axis=0))
    total = np.where(known, table, 0.0).sum(axis=0)
    mean: Array = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean


def concordance(
    predictions: Array, targets: Array, all_predictions: Array, all_targets: Array
) -> npt.NDArray[np.float32]:
    """Compare a block of rows with all rows, for the concordance index and its bootstrap.

    Args:
        predictions: float64 (block,).
        targets: float64 (block,).
        all_predictions: float64 (row,).
        all_targets: float64 (row,).

    Returns:
        float32 (block, row): where the other row has a higher target, 1 if its prediction is also
        higher and 1/2 if it ties; 0 elsewhere.
    """
    concordant = (predictions[:, None] < all_predictions).astype(np.float32)
    concordant += predictions[:, None] <= all_predictions
    concordant *= targets[:, None] < all_targets
    concordant *= np.float32(0.5)
    return concordant
