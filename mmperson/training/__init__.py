"""Training: a recipe and a manifest in, a run folder with a network out."""

from mmperson.training.setup import RunResult, score_run, train

__all__ = ["RunResult", "score_run", "train"]
