"""Which rows of a split count, and how rows are parted without sharing a source video.

The official splits of First Impressions V2 share source videos: about 84 % of the test clips have a
sibling clip in training, and remembering that sibling's rating already beats text models. So a
result is stated for the official rows *and* for the rows of unseen sources or for the published
source-disjoint folds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.data.manifest import Manifest
from mmperson.errors import DataError, UnknownComponent

Rows = npt.NDArray[np.bool_]


def official(train: Manifest, rows: Manifest) -> Rows:
    """Take every row of the split, as the challenge did; bool (row,)."""
    return np.ones(len(rows), dtype=np.bool_)


def unseen(train: Manifest, rows: Manifest) -> Rows:
    """Take the rows whose source video has no clip in training; bool (row,)."""
    return ~np.isin(rows.source_id, train.source_id)


def folds(train: Manifest, rows: Manifest) -> Rows:
    """Take the rows that are in a published source-disjoint fold; bool (row,).

    Metrics are computed in each fold and averaged. That says how much a number moves between
    disjoint sets of people; it is free of leakage only for predictions by models that never saw the
    fold's sources.
    """
    return rows.fold >= 0


PROTOCOLS: Final[dict[str, Callable[[Manifest, Manifest], Rows]]] = {
    "official": official,
    "unseen": unseen,
    "folds": folds,
}
"""Every protocol by name: (training rows, rows of the split) to the rows that count."""


def select(protocol: str, train: Manifest, rows: Manifest) -> Rows:
    """Apply a protocol by name.

    Args:
        protocol: ``official``, ``unseen`` or ``folds``.
        train: Rows that models and baselines learn from.
        rows: Rows of the split to judge.

    Returns:
        bool (row,), True for the rows that count.

    Raises:
        UnknownComponent: No such protocol.
        DataError: No row counts.
    """
    if protocol not in PROTOCOLS:
        raise UnknownComponent("protocol", protocol, PROTOCOLS)
    chosen = PROTOCOLS[protocol](train, rows)
    if not chosen.any():
        raise DataError(f"None of the {len(rows)} rows belongs to the {protocol!r} protocol.")
    return chosen


def grouped_folds(sources: npt.ArrayLike, k: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Part rows into folds of nearly equal size that share no source.

    For choosing models on training data alone. The largest sources are dealt first, each to the
    fold that has the fewest rows; the seed orders sources of one size. A source's fold depends on
    the set of rows and the seed, not on the order of the rows.

    Args:
        sources: (row,), the source video or person of each row.
        k: Number of folds, at least 2 and at most the number of sources.
        seed: Seed of the order.

    Returns:
        int64 (row,), the fold of each row, 0 to k - 1.

    Raises:
        DataError: There are fewer sources than folds, or fewer than two folds.

    >>> grouped_folds(["a", "b", "b", "c", "a", "d"], k=2).tolist()
    [0, 1, 1, 0, 0, 1]
    """
    names, source, size = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    if not 2 <= k <= len(names):
        raise DataError(f"{len(names)} sources cannot be parted into {k} folds.")
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-size[order], kind="stable")]
    fold = np.empty(len(names), dtype=np.int64)
    filled = np.zeros(k, dtype=np.int64)
    for name in order:
        fold[name] = np.argmin(filled)
        filled[fold[name]] += size[name]
    return fold[source]
