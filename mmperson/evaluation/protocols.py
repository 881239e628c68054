"""Evaluation protocols: which rows of a split count.

The official splits of First Impressions V2 share source videos: the source of about 84 % of the
test clips is in training, and its training rating already beats text models. Report a result on the
official rows *and* on unseen sources or the published source-disjoint folds.
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
    """Select every row of the split, as the challenge did; bool (row,)."""
    return np.ones(len(rows), dtype=np.bool_)


def unseen(train: Manifest, rows: Manifest) -> Rows:
    """Select the rows whose source video is not in training; bool (row,)."""
    return ~np.isin(rows.source_id, train.source_id)


def folds(train: Manifest, rows: Manifest) -> Rows:
    """Select the rows in a published source-disjoint fold; bool (row,).

    Metrics are computed per fold and averaged. They are free of leakage only if the model was not
    trained on the fold's sources.
    """
    return rows.fold >= 0


PROTOCOLS: Final[dict[str, Callable[[Manifest, Manifest], Rows]]] = {
    "official": official,
    "unseen": unseen,
    "folds": folds,
}
"""Protocol by name: (training rows, rows of the split) to a mask of the rows that count."""


def select(protocol: str, train: Manifest, rows: Manifest) -> Rows:
    """Apply a protocol by name.

    Args:
        protocol: ``official``, ``unseen`` or ``folds``.
        train: Training rows.
        rows: Rows of the split.

    Returns:
        bool (row,), True for the rows that count.

    Raises:
        UnknownComponent: There is no such protocol.
        DataError: No row counts.
    """
    if protocol not in PROTOCOLS:
        raise UnknownComponent("protocol", protocol, PROTOCOLS)
    mask = PROTOCOLS[protocol](train, rows)
    if not mask.any():
        raise DataError(f"None of the {len(rows)} rows belongs to the {protocol!r} protocol.")
    return mask
