"""Training: a recipe and a manifest to a run folder with a network."""

from mmperson.training.setup import RunResult, score_run, train

__all__ = ["RunResult", "score_run", "train"]
