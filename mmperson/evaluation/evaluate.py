"""Evaluate predictions: metrics, intervals, baselines and their comparison."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.manifest import SPLITS, Manifest
from mmperson.errors import DataError, UnknownComponent
from mmperson.evaluation.arrays import nan_mean, score_table
from mmperson.evaluation.baselines import BASELINES, applicable_baselines
from mmperson.evaluation.bootstrap import (
    Difference,
    Intervals,
    bootstrap,
    paired_difference,
    percentile_intervals,
    stratified,
    stratum_rows,
)
from mmperson.evaluation.metrics import average, partial_spearman, per_trait
from mmperson.evaluation.protocols import select
from mmperson.traits import TRAITS

COMPARED: Final = ("accuracy", "r2", "ccc")
"""Metrics of the paired comparison; rank metrics are undefined for a constant baseline."""


@dataclass(frozen=True)
class Folds:
    """Averages over traits per fold.

    Attributes:
        per_fold: Metric name to value, one mapping per fold in ascending order.
        sd: Metric name to standard deviation over the folds (divisor folds - 1).
    """

    per_fold: tuple[dict[str, float], ...]
    sd: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation.

    Attributes:
        mean: Metric name to average over the rated traits.
        traits: Trait name to metric name to value on the rows where the trait is rated; NaN for a
            trait in ``unlabelled``, as in the intervals.
        intervals: 95 % intervals over source videos: the same layout, with pairs [low, high].
        n: Evaluated rows: those with a prediction and a rating of at least one trait.
        labelled: Trait name to number of these rows with a rating of it.
        n_sources: Source videos of these rows.
        draws: Bootstrap draws.
        seed: Seed of the draws.
        protocol: ``official``, ``unseen`` or ``folds``; None without a manifest.
        split: ``train``, ``validation`` or ``test``; None without a manifest.
        missing: Rated rows of the protocol without a prediction; no figure includes them.
        baselines: Baseline name to its averages over traits on the same rows.
        best_baseline: The baseline with the highest accuracy.
        difference: The predictions minus the best baseline, paired.
        folds: Averages per fold, for the ``folds`` protocol.
        given_words: Trait name to partial Spearman correlation given the word count, and ``mean``;
            averaged over folds in the ``folds`` protocol. Empty without a manifest.
    """

    mean: dict[str, float]
    traits: dict[str, dict[str, float]]
    intervals: Intervals
    n: int
    labelled: dict[str, int]
    n_sources: int
    draws: int
    seed: int
    protocol: str | None = None
    split: str | None = None
    missing: int = 0
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    best_baseline: str | None = None
    difference: Difference | None = None
    folds: Folds | None = None
    given_words: dict[str, float] = field(default_factory=dict)

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Names of the traits without a rating."""
        return tuple(trait for trait, rows in self.labelled.items() if not rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, None for NaN."""
        record: dict[str, Any] = {
            "split": self.split,
            "protocol": self.protocol,
            "n": self.n,
            "n_sources": self.n_sources,
            "labelled": self.labelled,
            "unlabelled": list(self.unlabelled),
            "missing": self.missing,
            "draws": self.draws,
            "seed": self.seed,
            "mean": self.mean,
            "traits": self.traits,
            "intervals": self.intervals,
            "baselines": self.baselines,
            "spearman_given_words": self.given_words,
        }
        if self.difference is not None:
            record["versus_best_baseline"] = {
                "baseline": self.best_baseline,
                **self.difference.to_dict(),
            }
        if self.folds is not None:
            record["folds"] = {"per_fold": list(self.folds.per_fold), "sd": self.folds.sd}
        plain: dict[str, Any] = _plain(record)
        return plain


def evaluate(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    sources: npt.ArrayLike,
    *,
    train_mean: npt.ArrayLike,
    folds: npt.ArrayLike | None = None,
    draws: int = 2_000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate predictions without a manifest, and therefore without baselines.

    Args:
        predictions: float (row, trait), in the order of ``TRAITS``.
        targets: float (row, trait); NaN where a row has no rating.
        sources: (row,), source video or person of each row.
        train_mean: float (trait,), mean of the training targets.
        folds: (row,), source-disjoint folds to evaluate one by one and average; None for none.
        draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The result without ``protocol``, ``split`` and baselines.

    Raises:
        DataError: Shapes differ, a value is not finite, or there are fewer than two sources (in a
            fold).
    """
    drawn = bootstrap(
        predictions, targets, sources, train_mean=train_mean, strata=folds, draws=draws, seed=seed
    )
    traits = stratified(predictions, targets, train_mean, folds)
    rated = (~np.isnan(score_table(targets))).sum(axis=0)
    return Evaluation(
        mean=average(traits),
        traits=traits,
        intervals=percentile_intervals(drawn),
        n=len(np.asarray(targets)),
        labelled=dict(zip(TRAITS, rated.tolist(), strict=True)),
        n_sources=len(np.unique(np.asarray(sources))),
        draws=draws,
        seed=seed,
        folds=None if folds is None else _fold_spread(predictions, targets, train_mean, folds),
    )


def evaluate_split(
    predictions: npt.ArrayLike,
    manifest: Manifest,
    split: str,
    *,
    protocol: str = "official",
    draws: int = 2_000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate predictions for a split of a manifest, with baselines on the same rows.

    Args:
        predictions: float (row, trait), a row for each row of ``manifest.where_split(split)`` in
            its order; NaN where a row could not be scored.
        manifest: All rows; its training split fits the baselines. A trait without ratings in
            either split is skipped.
        split: ``train``, ``validation`` or ``test``.
        protocol: ``official``, ``unseen`` or ``folds``.
        draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The result with baselines.

    Raises:
        UnknownComponent: There is no such split or protocol.
        DataError: No row is rated and scored, or the numbers of rows differ.
    """
    if split not in SPLITS:
        raise UnknownComponent("split", split, SPLITS)
    train, rows = manifest.where_split("train"), manifest.where_split(split)
    scores = score_table(predictions)
    if not len(train):
        raise DataError("The manifest has no training rows, which baselines and skill need.")
    if len(scores) != len(rows):
        raise DataError(f"{len(scores)} predictions were given for {len(rows)} {split} rows.")
    train_mean = nan_mean(train.targets)
    # Skill and baselines of a trait need a training mean.
    targets = np.where(np.isnan(train_mean), np.nan, rows.targets)
    eligible = select(protocol, train, rows) & ~np.isnan(targets).all(axis=1)
    if not eligible.any():
        raise DataError(
            f"No {split} row of the {protocol!r} protocol has a rating of a trait that is rated "
            "in training."
        )
    scored = eligible & np.isfinite(scores).all(axis=1)
    if not scored.any():
        raise DataError(f"None of the {int(eligible.sum())} {split} rows has a prediction.")
    rows, targets, scores = rows.select(scored), targets[scored], scores[scored]
    folds = rows.fold if protocol == "folds" else None
    settings: dict[str, Any] = {"train_mean": train_mean, "draws": draws, "seed": seed}

    result = evaluate(scores, targets, rows.source_id, folds=folds, **settings)
    baseline_scores = {
        name: BASELINES[name](train, rows) for name in applicable_baselines(protocol, split)
    }
    baselines = {
        name: average(stratified(values, targets, train_mean, folds))
        for name, values in baseline_scores.items()
    }
    best = max(baselines, key=lambda name: baselines[name]["accuracy"])
    return replace(
        result,
        protocol=protocol,
        split=split,
        missing=int(eligible.sum() - scored.sum()),
        baselines=baselines,
        best_baseline=best,
        given_words=_spearman_given_words(scores, targets, rows, folds),
        difference=paired_difference(
            scores,
            baseline_scores[best],
            targets,
            rows.source_id,
            strata=folds,
            metrics=COMPARED,
            **settings,
        ),
    )


def _spearman_given_words(
    scores: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    rows: Manifest,
    folds: npt.ArrayLike | None,
) -> dict[str, float]:
    """Return the partial rank correlation given the word count per trait, NaN without ratings."""
    words = np.array([len(text.split()) for text in rows.transcript])
    correlations = {}
    for index, trait in enumerate(TRAITS):
        parts = [part[~np.isnan(targets[part, index])] for part in stratum_rows(folds, len(words))]
        values = [
            partial_spearman(scores[part, index], targets[part, index], words[part])
            for part in parts
            if len(part)
        ]
        correlations[trait] = float(nan_mean(values)) if values else np.nan
    return {**correlations, "mean": float(nan_mean(list(correlations.values())))}


def _plain(value: Any) -> Any:
    """Replace NaN, which JSON lacks, by None in nested values."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _fold_spread(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    train_mean: npt.ArrayLike,
    folds: npt.ArrayLike,
) -> Folds:
    p, t = score_table(predictions), score_table(targets)
    per_fold = tuple(
        average(per_trait(p[rows], t[rows], train_mean)) for rows in stratum_rows(folds, len(p))
    )
    # With a single fold, folds - 1 would be 0.
    sd = {
        name: float(np.std([values[name] for values in per_fold], ddof=min(1, len(per_fold) - 1)))
        for name in per_fold[0]
    }
    return Folds(per_fold, sd)
