"""What can be had without looking at the person: every result is shown beside these.

Each baseline learns from the training rows and returns scores for other rows, float64 (row, trait).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from mmperson.data.manifest import Manifest
from mmperson.evaluation.metrics import Array


def constant(train: Manifest, rows: Manifest) -> Array:
    """Predict the training mean of each trait for everybody.

    On First Impressions V2 it scores a 1-MAE of .8834 on validation and .8814 on test.
    """
    return np.tile(train.targets.mean(axis=0), (len(rows), 1))


def word_count(train: Manifest, rows: Manifest) -> Array:
    """Predict from how much was said: least squares on log(1 + words of the transcript).

    Clips are about equally long, so this is mostly speaking rate. It scores .8843 on the test
    split.
    """
    slope, *_ = np.linalg.lstsq(_talk(train), train.targets, rcond=None)
    return np.asarray(_talk(rows) @ slope, dtype=np.float64)


def source_lookup(train: Manifest, rows: Manifest) -> Array:
    """Predict the mean training rating of the same source video; the constant where it has none.

    No recognition at all: it only knows who was rated before. On the official test split it scores
    .9049 with R2 .324 and PCC .612, which is how much of an official result may be leakage.
    """
    names, source, clips = np.unique(train.source_id, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), train.targets.shape[1]))
    np.add.at(sums, source, train.targets)
    place = np.minimum(np.searchsorted(names, rows.source_id), len(names) - 1)
    known = names[place] == rows.source_id
    return np.where(known[:, None], (sums / clips[:, None])[place], constant(train, rows))


BASELINES: Final[dict[str, Callable[[Manifest, Manifest], Array]]] = {
    "constant": constant,
    "word_count": word_count,
    "source_lookup": source_lookup,
}
"""Every baseline by name: (training rows, rows to score) to scores."""


def baselines_of(protocol: str, split: str) -> tuple[str, ...]:
    """Name the baselines that mean something for a protocol and split.

    The look-up needs sources that training shares, which only the official protocol has, and would
    find a training row's own label.
    """
    looks_up = protocol == "official" and split != "train"
    return tuple(name for name in BASELINES if name != "source_lookup" or looks_up)


def _talk(rows: Manifest) -> Array:
    """Return an intercept and the log word count, float64 (row, 2)."""
    words = np.array([len(text.split()) for text in rows.transcript], dtype=np.float64)
    return np.stack([np.ones_like(words), np.log1p(words)], axis=1)
