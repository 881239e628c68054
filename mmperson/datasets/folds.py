"""Folds that share no source video and no person."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError

FOLDS: Final = 10
"""Number of folds of a corpus without published ones, as in First Impressions V2."""


def grouped_folds(sources: npt.ArrayLike, k: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Assign rows to folds of nearly equal size that share no source.

    The largest sources are assigned first, each to the smallest fold; the seed orders sources of
    equal size. The result does not depend on the order of the rows.

    Args:
        sources: (row,), source video or person of each row.
        k: Number of folds, at least 2 and at most the number of sources.
        seed: Random seed.

    Returns:
        int64 (row,), the fold of each row, 0 to k - 1.

    Raises:
        DataError: There are fewer sources than folds, or fewer than two folds.

    >>> grouped_folds(["a", "b", "b", "c", "a", "d"], k=2).tolist()
    [0, 1, 1, 0, 0, 1]
    """
    names, source, size = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    if not 2 <= k <= len(names):
        raise DataError(f"{len(names)} sources cannot be assigned to {k} folds.")
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-size[order], kind="stable")]
    fold = np.empty(len(names), dtype=np.int64)
    filled = np.zeros(k, dtype=np.int64)
    for name in order:
        fold[name] = np.argmin(filled)
        filled[fold[name]] += size[name]
    return fold[source]


def assign_folds(sources: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return a corpus's folds, the same at every import.

    Args:
        sources: (row,), person or source video of each row.

    Returns:
        int64 (row,), 0 to ``FOLDS`` - 1, or fewer folds if there are fewer sources; -1 if there is
        only one source.
    """
    count = len(np.unique(np.asarray(sources)))
    if count < 2:
        return np.full(np.shape(sources), -1, dtype=np.int64)
    return grouped_folds(sources, min(FOLDS, count))
