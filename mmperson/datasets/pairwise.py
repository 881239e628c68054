r"""Bradley-Terry scores from pairwise comparisons of clips.

People compare more reliably than they rate. Each clip i gets a score on each trait m such that

.. math:: P(i \succ j \mid m) = \sigma(\theta_{im} - \theta_{jm})

Traits correlate, so the score matrix is close to low rank. A penalty on its nuclear norm, the sum
of its singular values, shares information between traits and keeps the score of a clip that wins
every comparison finite. Clips are compared within a group, such as an interview question, and
scores are centred in each group: scores of different groups are not comparable.

Source: Bradley and Terry, "Rank Analysis of Incomplete Block Designs: I. The Method of Paired
Comparisons" (Biometrika 39, 1952), for the model; Gupta et al., "RecruitView" (arXiv 2512.00450,
2025), for several traits with a nuclear norm, centred by question.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from mmperson.datasets.tables import duplicates, raise_findings, read_csv, write_csv
from mmperson.errors import DataError, did_you_mean
from mmperson.files import write_errors

Scores = npt.NDArray[np.float64]

_COLUMNS: Final = ("group", "trait", "winner", "loser")
_TOLERANCE: Final = 1e-5  # Relative step size at which the fit has converged.
_MAX_STEPS: Final = 10_000


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Pairwise comparisons of clips.

    Attributes:
        traits: Names of the compared traits, sorted.
        group: str (clip,), group of each clip; empty without groups.
        clip: str (clip,), name, unique within its group; sorted by group, then name.
        trait: int64 (comparison,), index of the compared trait.
        winner: int64 (comparison,), index of the clip that shows more of the trait.
        loser: int64 (comparison,), index of the other clip, of the same group.
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

    def components(self) -> npt.NDArray[np.int64]:
        """Return the connected component of each clip in the comparison graph, int64 (clip,)."""
        ones = np.ones(len(self), dtype=np.int8)
        graph = coo_array((ones, (self.winner, self.loser)), shape=(len(self.clip),) * 2)
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)

    def split_groups(self) -> tuple[str, ...]:
        """Return the groups that are not connected: their components share no scale."""
        pairs = set(zip(self.group.tolist(), self.components().tolist(), strict=True))
        return tuple(sorted(duplicates(group for group, _ in pairs)))


@dataclass(frozen=True, eq=False)
class PairwiseFit:
    """Result of ``fit_pairwise``.

    Attributes:
        comparisons: The fitted comparisons.
        scores: float64 (clip, trait), in logits, with mean 0 in each group.
        rank: Rank of ``scores``.
        likelihood: Mean log-likelihood of a comparison; chance is log 0.5 = -0.693.
    """

    comparisons: Comparisons
    scores: Scores
    rank: int
    likelihood: float


def read_comparisons(path: str | Path) -> Comparisons:
    """Read pairwise comparisons.

    Args:
        path: CSV with the columns ``trait``, ``winner``, ``loser`` and, if clips were compared
            within groups, ``group``; one comparison per line.

    Raises:
        DataError: The file cannot be read, has other columns, or has invalid lines.
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
    findings = [] if len(table) else ["there are no comparisons"]
    for name in table.columns:
        findings += table.empty_cells(name)
    winners, losers = table.columns["winner"], table.columns["loser"]
    findings += [
        f"{place}: {winner!r} is compared with itself; leave ties out"
        for place, winner, loser in zip(table.places, winners, losers, strict=True)
        if winner and winner == loser
    ]
    raise_findings(findings, f"{str(path)!r} has invalid comparisons.")
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
    r"""Fit maximum-likelihood scores under a nuclear-norm penalty.

    .. math:: \min_\Theta \sum_c \log(1 + e^{-(\theta_{w_c m_c} - \theta_{l_c m_c})})
              + \lambda \|\Theta\|_*

    is convex; accelerated proximal gradient descent with backtracking solves it. The solution is
    centred, because only the penalty depends on the mean of connected clips.

    Source: Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm" (SIAM J. Imaging
    Sciences 2(1), 2009), section 4, with the restart of O'Donoghue and Candès (Foundations of
    Computational Mathematics 15, 2015), eq. 12; singular values are thresholded as in Cai, Candès
    and Shen (SIAM J. Optimization 20(4), 2010), theorem 2.1.

    Args:
        comparisons: The comparisons.
        penalty: :math:`\lambda` as a multiple of ``noise_level``, above 0. A larger one shrinks the
            scores and lowers their rank.

    Raises:
        DataError: The penalty is out of range or sets all scores to 0, or the fit does not
            converge.
    """
    if not 0 < penalty < np.inf:
        raise DataError(f"The penalty is {penalty:g}; it must be above 0 and finite.")
    weight = penalty * noise_level(comparisons)
    scores = np.zeros((len(comparisons.clip), len(comparisons.traits)))
    ahead, momentum, curvature = scores, 1.0, 1.0
    for _ in range(_MAX_STEPS):
        step, curvature = _step(comparisons, ahead, weight, curvature)
        size = float(np.linalg.norm(step))
        converged = np.linalg.norm(step - ahead) <= _TOLERANCE * max(1.0, size)
        # Restart when the momentum points uphill.
        if np.vdot(ahead - step, step - scores) > 0:
            momentum, ahead = 1.0, step
        else:
            grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = step + (momentum - 1) / grown * (step - scores)
            momentum = grown
        scores = step
        if converged:
            break
    else:
        raise DataError(
            f"The fit did not converge in {_MAX_STEPS:,} steps with a penalty of {penalty:g}.",
            hint="Raise the penalty.",
        )
    if not scores.any():
        raise DataError(
            f"A penalty of {penalty:g} sets every score to 0: the comparisons are no more "
            "consistent than chance.",
            hint="Collect more comparisons, or lower the penalty.",
        )
    return PairwiseFit(
        comparisons=comparisons,
        scores=_centred(scores, comparisons.group),
        rank=int(np.linalg.matrix_rank(scores, tol=_TOLERANCE * np.linalg.norm(scores))),
        likelihood=-_loss(comparisons, scores) / len(comparisons),
    )


def noise_level(comparisons: Comparisons) -> float:
    r"""Return the spectral norm that random comparisons would give the gradient at 0.

    A random comparison adds ±1/2 to two entries of the gradient at 0. With n clips, m traits and d
    comparisons per entry, the entries have variance d / 4, and a random matrix of such entries has
    a norm of about :math:`\tfrac12\sqrt d\,(\sqrt n + \sqrt m)`. A penalty well above it sets all
    scores to 0; one well below it fits noise.

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
        path: The file to write, atomically; missing folders are created.

    Raises:
        UsageError: The file cannot be written.
    """
    path = Path(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    judged = fit.comparisons
    counts = judged.counts().sum(axis=1)
    rows = (
        [group, clip, count, *map("{:.6f}".format, scores)]
        for group, clip, count, scores in zip(
            judged.group, judged.clip, counts, fit.scores, strict=True
        )
    )
    write_csv(path, ["group", "clip", "comparisons", *judged.traits], rows)


def _step(
    comparisons: Comparisons, start: Scores, weight: float, curvature: float
) -> tuple[Scores, float]:
    """Return a proximal gradient step, and the next curvature by backtracking."""
    loss, gradient = _loss(comparisons, start), _gradient(comparisons, start)
    while True:
        step = _threshold(start - gradient / curvature, weight / curvature)
        moved = step - start
        bound = loss + np.vdot(gradient, moved) + curvature / 2 * np.vdot(moved, moved)
        # Near convergence both sides are equal up to rounding.
        if _loss(comparisons, step) <= bound + 1e-12 * max(1.0, loss):
            return step, 0.9 * curvature
        curvature *= 2


def _threshold(matrix: Scores, amount: float) -> Scores:
    u, values, vt = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray((u * np.maximum(values - amount, 0.0)) @ vt)


def _margins(comparisons: Comparisons, scores: Scores) -> Scores:
    trait = comparisons.trait
    return scores[comparisons.winner, trait] - scores[comparisons.loser, trait]


def _loss(comparisons: Comparisons, scores: Scores) -> float:
    return float(np.logaddexp(0.0, -_margins(comparisons, scores)).sum())


def _gradient(comparisons: Comparisons, scores: Scores) -> Scores:
    error = expit(-_margins(comparisons, scores))
    gradient = np.zeros_like(scores)
    np.add.at(gradient, (comparisons.winner, comparisons.trait), -error)
    np.add.at(gradient, (comparisons.loser, comparisons.trait), error)
    return gradient


def _centred(scores: Scores, group: npt.NDArray[np.str_]) -> Scores:
    """Subtract the group means, which rounding leaves."""
    row = np.unique(group, return_inverse=True)[1]
    sums = np.zeros((row.max() + 1, scores.shape[1]))
    np.add.at(sums, row, scores)
    return scores - (sums / np.bincount(row)[:, None])[row]
