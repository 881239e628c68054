"""What metrics and their intervals share: tables of scores, and how their rows are compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.traits import TRAITS

Array = npt.NDArray[np.float64]


def score_table(values: npt.ArrayLike) -> Array:
    """Return scores as float64 (row, trait), or refuse another shape with a ``DataError``."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(TRAITS):
        raise DataError(f"Scores have the shape {table.shape}; (rows, {len(TRAITS)}) is needed.")
    return table


def column_pair(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Array, Array]:
    """Return two columns as float64 (row,), or refuse other shapes with a ``DataError``."""
    p, t = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if p.ndim != 1 or p.shape != t.shape or not len(p):
        raise DataError(
            f"Predictions of shape {p.shape} and targets of shape {t.shape} cannot be compared; "
            "two 1-D arrays of one length, with at least one row, are needed."
        )
    return p, t


def mean_known(values: npt.ArrayLike, axis: int = 0) -> Array:
    """Average the values that are known, those that are not NaN.

    Args:
        values: float, any shape.
        axis: Axis to average over.

    Returns:
        float64, one axis less; NaN where not a single value is known.
    """
    table = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(table)
    count = np.asarray(known.sum(axis=axis))
    total = np.where(known, table, 0.0).sum(axis=axis)
    mean: Array = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean


def concordance(
    predictions: Array, targets: Array, all_predictions: Array, all_targets: Array
) -> npt.NDArray[np.float32]:
    """Compare some rows with all rows, for the concordance index and its bootstrap.

    Args:
        predictions: float64 (some,).
        targets: float64 (some,).
        all_predictions: float64 (row,).
        all_targets: float64 (row,).

    Returns:
        float32 (some, row): 0 unless the other row's target is higher; there 1 where its prediction
        is higher too, 1/2 where it ties.
    """
    agreeing = (predictions[:, None] < all_predictions).astype(np.float32)
    agreeing += predictions[:, None] <= all_predictions
    agreeing *= targets[:, None] < all_targets
    agreeing *= np.float32(0.5)
    return agreeing
