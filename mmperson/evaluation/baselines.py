"""Baselines that do not look at the person.

Each baseline fits the training rows and returns scores for other rows, float64 (row, trait). It
skips missing ratings; a trait without training ratings has NaN scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from mmperson.datasets.manifest import SPLITS, Manifest
from mmperson.evaluation.arrays import Array, nan_mean
from mmperson.evaluation.metrics import average, per_trait
from mmperson.evaluation.protocols import PROTOCOLS


def constant(train: Manifest, rows: Manifest) -> Array:
    """Predict the training mean of each trait.

    On First Impressions V2 it scores a 1-MAE of .8834 on validation and .8814 on test.
    """
    return np.tile(nan_mean(train.targets), (len(rows), 1))


def word_count(train: Manifest, rows: Manifest) -> Array:
    """Predict by least squares on log(1 + words of the transcript).

    Clips have similar durations, so this is mostly speaking rate. It scores .8843 on the test
    split.
    """
    words, known = _word_features(train), ~np.isnan(train.targets)
    slope = np.full((words.shape[1], known.shape[1]), np.nan)
    for trait in np.flatnonzero(known.any(axis=0)):
        rated = known[:, trait]
        slope[:, trait] = np.linalg.lstsq(words[rated], train.targets[rated, trait], rcond=None)[0]
    return np.asarray(_word_features(rows) @ slope, dtype=np.float64)


def source_lookup(train: Manifest, rows: Manifest) -> Array:
    """Predict the mean training rating of the same source video, else the constant.

    This measures how much of an official result may be leakage: on all 2,000 rows of the official
    test split it scores .9049 with R2 .324 and PCC .612. An evaluation reports it on the scored
    rows: 1,997 for a model of transcripts, of which three are blank, with R2 .323 and PCC .610.
    """
    names, source = np.unique(train.source_id, return_inverse=True)
    known = ~np.isnan(train.targets)
    sums, clips = np.zeros((2, len(names), known.shape[1]))
    np.add.at(sums, source, np.where(known, train.targets, 0.0))
    np.add.at(clips, source, known)
    place = np.minimum(np.searchsorted(names, rows.source_id), len(names) - 1)
    rated = (names[place] == rows.source_id)[:, None] & (clips[place] > 0)
    return np.where(rated, (sums / np.maximum(clips, 1))[place], constant(train, rows))


BASELINES: Final[dict[str, Callable[[Manifest, Manifest], Array]]] = {
    "constant": constant,
    "word_count": word_count,
    "source_lookup": source_lookup,
}
"""Baseline by name: (training rows, rows to score) to scores."""


def applicable_baselines(protocol: str, split: str) -> tuple[str, ...]:
    """Return the names of the meaningful baselines for a protocol and split.

    The look-up needs sources that are in training, which only the official protocol has; on
    training rows it would return their own labels.
    """
    looks_up = protocol == "official" and split != "train"
    return tuple(name for name in BASELINES if name != "source_lookup" or looks_up)


def score_baselines(
    manifest: Manifest, metrics: tuple[str, ...] = ("accuracy", "r2", "pcc")
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Fit the baselines on the training split and score them on the other splits.

    Args:
        manifest: All rows; unrated ones are skipped.
        metrics: Names of metrics, see ``mmperson.evaluation.METRICS``.

    Returns:
        Averages over traits by split, protocol (``official``, ``unseen``), baseline and metric;
        without empty splits and protocols.
    """
    manifest = manifest.select(np.isfinite(manifest.targets).any(axis=1))
    train = manifest.where_split("train")
    results: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for split in SPLITS[1:] if len(train) else ():
        for protocol in ("official", "unseen"):
            rows = manifest.where_split(split)
            rows = rows.select(PROTOCOLS[protocol](train, rows))
            if not len(rows):
                continue
            train_mean = nan_mean(train.targets)
            results.setdefault(split, {})[protocol] = {
                name: average(
                    per_trait(BASELINES[name](train, rows), rows.targets, train_mean, metrics)
                )
                for name in applicable_baselines(protocol, split)
            }
    return results


def _word_features(rows: Manifest) -> Array:
    """Return an intercept and the log word count, float64 (row, 2)."""
    words = np.array([len(text.split()) for text in rows.transcript], dtype=np.float64)
    return np.stack([np.ones_like(words), np.log1p(words)], axis=1)
