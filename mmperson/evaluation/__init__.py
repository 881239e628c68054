"""Metrics, protocols, baselines and bootstrap intervals."""

from mmperson.evaluation.baselines import (
    BASELINES,
    constant,
    score_baselines,
    source_lookup,
    word_count,
)
from mmperson.evaluation.bootstrap import Difference, bootstrap, paired_difference
from mmperson.evaluation.evaluate import Evaluation, evaluate, evaluate_split
from mmperson.evaluation.metrics import METRICS, average, per_trait
from mmperson.evaluation.predictions import Predictions, read_predictions, write_predictions
from mmperson.evaluation.protocols import PROTOCOLS, grouped_folds

__all__ = [
    "BASELINES",
    "METRICS",
    "PROTOCOLS",
    "Difference",
    "Evaluation",
    "Predictions",
    "average",
    "bootstrap",
    "constant",
    "evaluate",
    "evaluate_split",
    "grouped_folds",
    "paired_difference",
    "per_trait",
    "read_predictions",
    "score_baselines",
    "source_lookup",
    "word_count",
    "write_predictions",
]
