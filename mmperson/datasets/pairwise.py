r"""Scores from judgements of pairs: which of two clips shows more of a trait?

People compare more reliably than they rate. Each clip i gets a score on each trait m such that

.. math:: P(i \succ j \mid m) = \sigma(\theta_{im} - \theta_{jm})

Traits go together, so the matrix of all scores is near one of low rank. A penalty on its nuclear
norm, the sum of its singular values, lets the comparisons on one trait inform the others, and keeps
the score of a clip that wins every comparison finite. Clips are compared within a group, such as
the question that they answer, and scores are centred in each: nothing says whether the clips of one
group surpass those of another.

Source: Bradley and Terry, "Rank Analysis of Incomplete Block Designs: I. The Method of Paired
Comparisons" (Biometrika 39, 1952), for the model; Gupta et al., "RecruitView" (arXiv 2512.00450,
2025), for several traits with a nuclear norm, centred by question.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from mmperson.datasets.tables import duplicates, read_csv, refuse
from mmperson.errors import DataError, did_you_mean
from mmperson.files import atomic_write, write_errors

Scores = npt.NDArray[np.float64]

_COLUMNS: Final = ("group", "trait", "winner", "loser")
_TOLERANCE: Final = 1e-5  # Of the norm of the scores: a smaller step ends the fit.
_MAX_STEPS: Final = 10_000


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Judgements of pairs of clips.

    Attributes:
        traits: Names of what was compared, sorted.
        group: str (clip,), the group of each clip, empty where there are no groups.
        clip: str (clip,), its name, unique within its group; sorted by group, then name.
        trait: int64 (comparison,), which trait was judged.
        winner: int64 (comparison,), the clip that shows more of it.
        loser: int64 (comparison,), the other one, of the same group.
    """

    traits: tuple[str, ...]
    group: npt.NDArray[np.str_]
    clip: npt.NDArray[np.str_]
    trait: npt.NDArray[np.int64]
    winner: npt.NDArray[np.int64]
    loser: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.trait)

    def counts(self) -> npt.NDArray[np.int64]:
        """Return how often each clip was compared on each trait, int64 (clip, trait)."""
        counts = np.zeros((len(self.clip), len(self.traits)), dtype=np.int64)
        np.add.at(counts, (self.winner, self.trait), 1)
        np.add.at(counts, (self.loser, self.trait), 1)
        return counts

    def parts(self) -> npt.NDArray[np.int64]:
        """Return the part of each clip, int64 (clip,): no comparison links clips of two parts."""
        ones = np.ones(len(self), dtype=np.int8)
        links = coo_array((ones, (self.winner, self.loser)), shape=(len(self.clip),) * 2)
        part: npt.NDArray[np.int64] = connected_components(links, directed=False)[1]
        return part.astype(np.int64)

    def split_groups(self) -> tuple[str, ...]:
        """Return the groups that fall into several parts, whose levels are then a convention."""
        pairs = set(zip(self.group.tolist(), self.parts().tolist(), strict=True))
        return tuple(sorted(duplicates(group for group, _ in pairs)))


@dataclass(frozen=True, eq=False)
class PairwiseFit:
    """What ``fit_pairwise`` returns.

    Attributes:
        comparisons: What was fitted.
        scores: float64 (clip, trait), in units of the logit, with mean 0 in each group.
        rank: Rank of ``scores``: how many independent directions the comparisons speak of.
        likelihood: Mean log-likelihood of a comparison; log 0.5 = -0.693 is that of a coin.
    """

    comparisons: Comparisons
    scores: Scores
    rank: int
    likelihood: float


def read_comparisons(path: str | Path) -> Comparisons:
    """Read judgements of pairs.

    Args:
        path: CSV with the columns ``trait``, ``winner`` and ``loser`` and, where clips were
            compared within groups only, ``group``; a judgement a line.

    Raises:
        DataError: The file cannot be read or has other columns, or lines of it are wrong; the
            findings name each.
    """
    table = read_csv(Path(path))
    table.require([name for name in _COLUMNS if name != "group"])
    unknown = [name for name in table.columns if name not in _COLUMNS]
    if unknown:
        raise DataError(
            f"{str(path)!r} has unknown columns {', '.join(unknown)}; "
            f"there are {', '.join(_COLUMNS)}.",
            hint=did_you_mean(unknown[0], _COLUMNS),
        )
    findings = [] if len(table) else ["there is not a single comparison"]
    for name, cells in table.columns.items():
        findings += [
            f"{place}: {name} is empty"
            for place, cell in zip(table.places, cells, strict=True)
            if not cell
        ]
    winners, losers = table.columns["winner"], table.columns["loser"]
    findings += [
        f"{place}: {winner!r} is compared with itself; the model has no ties, leave them out"
        for place, winner, loser in zip(table.places, winners, losers, strict=True)
        if winner and winner == loser
    ]
    refuse(findings, f"{str(path)!r} cannot be used as it is.")
    groups = table.columns.get("group", ("",) * len(table))
    first, second = [*zip(groups, winners, strict=True)], [*zip(groups, losers, strict=True)]
    clips = sorted({*first, *second})
    number = {clip: row for row, clip in enumerate(clips)}
    traits = sorted(set(table.columns["trait"]))
    return Comparisons(
        traits=tuple(traits),
        group=np.array([group for group, _ in clips], dtype=np.str_),
        clip=np.array([clip for _, clip in clips], dtype=np.str_),
        trait=np.array([traits.index(trait) for trait in table.columns["trait"]], dtype=np.int64),
        winner=np.array([number[clip] for clip in first], dtype=np.int64),
        loser=np.array([number[clip] for clip in second], dtype=np.int64),
    )


def fit_pairwise(comparisons: Comparisons, penalty: float = 0.75) -> PairwiseFit:
    r"""Fit the scores that explain the comparisons best under a nuclear-norm penalty.

    .. math:: \min_\Theta \sum_c \log(1 + e^{-(\theta_{w_c m_c} - \theta_{l_c m_c})})
              + \lambda \|\Theta\|_*

    is convex; accelerated proximal gradient steps, whose length is found by backtracking, solve it.
    Its solution is centred by itself: the mean of linked clips enters the penalty alone.

    Source: Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm" (SIAM J. Imaging
    Sciences 2(1), 2009), section 4, with the restart of O'Donoghue and Candès (Foundations of
    Computational Mathematics 15, 2015), eq. 12; singular values are thresholded as in Cai, Candès
    and Shen (SIAM J. Optimization 20(4), 2010), theorem 2.1.

    Args:
        comparisons: The judgements.
        penalty: :math:`\lambda` as a multiple of ``noise_level``, above 0. More gives scores
            nearer to 0 and of lower rank.

    Raises:
        DataError: The penalty is out of range or leaves no score, or the fit does not settle.
    """
    if not 0 < penalty < np.inf:
        raise DataError(f"The penalty is {penalty:g}; it must be above 0 and finite.")
    weight = penalty * noise_level(comparisons)
    scores = np.zeros((len(comparisons.clip), len(comparisons.traits)))
    ahead, momentum, curvature = scores, 1.0, 1.0
    for _ in range(_MAX_STEPS):
        step, curvature = _step(comparisons, ahead, weight, curvature)
        size = float(np.linalg.norm(step))
        settled = np.linalg.norm(step - ahead) <= _TOLERANCE * max(1.0, size)
        # Momentum that points uphill is dropped.
        if np.vdot(ahead - step, step - scores) > 0:
            momentum, ahead = 1.0, step
        else:
            grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = step + (momentum - 1) / grown * (step - scores)
            momentum = grown
        scores = step
        if settled:
            break
    else:
        raise DataError(
            f"The fit did not settle in {_MAX_STEPS:,} steps with a penalty of {penalty:g}.",
            hint="Raise the penalty.",
        )
    if not scores.any():
        raise DataError(
            f"A penalty of {penalty:g} leaves every score at 0: the comparisons agree no more "
            "than chance would.",
            hint="Collect more comparisons, or lower the penalty.",
        )
    return PairwiseFit(
        comparisons=comparisons,
        scores=_centred(scores, comparisons.group),
        rank=int(np.linalg.matrix_rank(scores, tol=_TOLERANCE * np.linalg.norm(scores))),
        likelihood=-_loss(comparisons, scores) / len(comparisons),
    )


def noise_level(comparisons: Comparisons) -> float:
    r"""Return the largest singular value that coin tosses would put into the gradient.

    A judgement by chance adds ±1/2 to two entries of the gradient at 0. With n clips, m traits and
    d comparisons per entry, its entries have variance d / 4, and a random matrix of such entries
    has a norm of about :math:`\tfrac12\sqrt d\,(\sqrt n + \sqrt m)`. A penalty well above
    it leaves nothing, one well below it fits the noise.

    Source: Davidson and Szarek, "Local Operator Theory, Random Matrices and Banach Spaces"
    (Handbook of the Geometry of Banach Spaces 1, 2001), theorem II.13.
    """
    clips, traits = len(comparisons.clip), len(comparisons.traits)
    density = 2 * len(comparisons) / (clips * traits)
    return float(0.5 * np.sqrt(density) * (np.sqrt(clips) + np.sqrt(traits)))


def write_scores(fit: PairwiseFit, path: str | Path) -> None:
    """Write the scores as CSV: ``group``, ``clip``, ``comparisons`` and a column per trait.

    Args:
        fit: The scores.
        path: The file to write; its folder is made if absent. A crash leaves no half-written file.

    Raises:
        UsageError: It cannot be written.
    """
    path = Path(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(
        fit.comparisons.group, fit.comparisons.clip, fit.comparisons.counts().sum(axis=1),
        fit.scores, strict=True,
    )  # fmt: skip
    with (
        atomic_write(path) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["group", "clip", "comparisons", *fit.comparisons.traits])
        for group, clip, count, scores in rows:
            writer.writerow([group, clip, count, *(f"{score:.6f}" for score in scores)])


def _step(
    comparisons: Comparisons, start: Scores, weight: float, curvature: float
) -> tuple[Scores, float]:
    """Return the proximal gradient step and the curvature that it was found to need."""
    loss, slope = _loss(comparisons, start), _slope(comparisons, start)
    while True:
        step = _threshold(start - slope / curvature, weight / curvature)
        moved = step - start
        bound = loss + np.vdot(slope, moved) + curvature / 2 * np.vdot(moved, moved)
        # Near the end both sides agree to rounding.
        if _loss(comparisons, step) <= bound + 1e-12 * max(1.0, loss):
            return step, 0.9 * curvature
        curvature *= 2


def _threshold(matrix: Scores, amount: float) -> Scores:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    shrunk: Scores = (left * np.maximum(values - amount, 0.0)) @ right
    return shrunk


def _margins(comparisons: Comparisons, scores: Scores) -> Scores:
    trait = comparisons.trait
    return scores[comparisons.winner, trait] - scores[comparisons.loser, trait]


def _loss(comparisons: Comparisons, scores: Scores) -> float:
    return float(np.logaddexp(0.0, -_margins(comparisons, scores)).sum())


def _slope(comparisons: Comparisons, scores: Scores) -> Scores:
    surprise = expit(-_margins(comparisons, scores))
    slope = np.zeros_like(scores)
    np.add.at(slope, (comparisons.winner, comparisons.trait), -surprise)
    np.add.at(slope, (comparisons.loser, comparisons.trait), surprise)
    return slope


def _centred(scores: Scores, group: npt.NDArray[np.str_]) -> Scores:
    """Take the rounding out of the means of groups."""
    row = np.unique(group, return_inverse=True)[1]
    sums = np.zeros((row.max() + 1, scores.shape[1]))
    np.add.at(sums, row, scores)
    return scores - (sums / np.bincount(row)[:, None])[row]
