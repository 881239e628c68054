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

from mmperson.datasets.folds import grouped_folds as grouped_folds
from mmperson.datasets.manifest import Manifest
from mmperson.errors import DataError, UnknownComponent

Rows = npt.NDArray[np.bool_]


def official(train: Manifest, rows: Manifest) -> Rows:
    """Take every row of the split, as the challenge did; bool (row,).

    Predictions and baselines are then judged on the rows among them that were scored: a model that
    reads transcripts scores 1,997 of the 2,000 test rows, because three transcripts are blank.
    """
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
