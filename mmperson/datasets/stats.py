"""Descriptive statistics of a corpus."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmperson.datasets.manifest import SPLITS, Manifest
from mmperson.traits import TRAITS


@dataclass(frozen=True)
class LabelStats:
    """Distribution of one label over the training split, on [0, 1]; the std has divisor n."""

    mean: float
    std: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class WordStats:
    """Words per transcript of one split without blank ones, and the number of ``blank`` ones."""

    mean: float
    median: float
    maximum: int
    blank: int


@dataclass(frozen=True)
class Stats:
    """Result of ``compute_stats``.

    Attributes:
        rows: Number of clips by split.
        labels: Training labels by name: the traits, then ``interview``, if rated.
        words: Transcripts by split.
    """

    rows: dict[str, int]
    labels: dict[str, LabelStats]
    words: dict[str, WordStats]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def compute_stats(manifest: Manifest) -> Stats:
    """Describe the labels of the training split only, and the transcripts of every split."""
    parts = {name: part for name in SPLITS if len(part := manifest.where_split(name))}
    train = manifest.where_split("train")
    labels = {trait: train.targets[:, i] for i, trait in enumerate(TRAITS)}
    if "interview" in train.extras:
        labels["interview"] = train.extras["interview"]
    return Stats(
        rows={name: len(part) for name, part in parts.items()},
        labels={n: _describe(known) for n, v in labels.items() if len(known := v[np.isfinite(v)])},
        words={name: _count_words(part.transcript) for name, part in parts.items()},
    )


def _describe(values: npt.NDArray[np.float64]) -> LabelStats:
    return LabelStats(
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


def _count_words(transcripts: tuple[str, ...]) -> WordStats:
    counts = np.array([len(text.split()) for text in transcripts])
    spoken = counts[counts > 0]
    if not len(spoken):
        return WordStats(mean=0.0, median=0.0, maximum=0, blank=len(counts))
    return WordStats(
        mean=float(spoken.mean()),
        median=float(np.median(spoken)),
        maximum=int(spoken.max()),
        blank=len(counts) - len(spoken),
    )
