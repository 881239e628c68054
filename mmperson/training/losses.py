"""Losses by name: scores and targets in, one number out. Adding one is a function and a line.

A target that is not a number is an unknown label: no term sees it, and no gradient comes from it.
The mathematics is in float32 (float64 for float64 scores), also where autocast is on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mmperson.config import LossConfig
from mmperson.errors import ConfigError, UnknownComponent

_FLOOR: Final = 1e-8
"""Least variance, (1e-4 score units)²: keeps slopes finite where scores or targets are constant."""


class Loss(Protocol):
    """What ``build_loss`` returns: scores, targets and optionally groups to a scalar."""

    def __call__(self, scores: Tensor, targets: Tensor, groups: Tensor | None = None, /) -> Tensor:
        """Judge a batch; see ``build_loss``."""


_Base = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
# (scores, targets, known, beta) to terms and the mask of those that count, which broadcast against
# (batch, target).


def _smooth_l1(
    scores: Tensor, targets: Tensor, known: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """Half the square over beta below ``beta``, linear beyond, with the slope one."""
    return functional.smooth_l1_loss(scores, targets, beta=beta, reduction="none"), known


def _huber(scores: Tensor, targets: Tensor, known: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Half the square below ``beta``, linear beyond, with the slope beta."""
    return functional.huber_loss(scores, targets, delta=beta, reduction="none"), known


def _mse(scores: Tensor, targets: Tensor, known: Tensor, _: float) -> tuple[Tensor, Tensor]:
    return (scores - targets).square(), known


def _mae(scores: Tensor, targets: Tensor, known: Tensor, _: float) -> tuple[Tensor, Tensor]:
    return (scores - targets).abs(), known


def _ccc(scores: Tensor, targets: Tensor, known: Tensor, _: float) -> tuple[Tensor, Tensor]:
    """One minus each target's concordance correlation over the batch.

    It is one, without a slope, for a single row and for constant targets: they say nothing about
    agreement.
    """
    score_mean, score_rest = _centred(scores, known)
    target_mean, target_rest = _centred(targets, known)
    rows = known.sum(dim=0).clamp_min(1)
    covariance = (score_rest * target_rest).sum(dim=0) / rows
    spread = (score_rest.square() + target_rest.square()).sum(dim=0) / rows
    shift = (score_mean - target_mean).square()
    return 1.0 - 2.0 * covariance / (spread + shift + _FLOOR), known.any(dim=0)


LOSSES: Final[Mapping[str, _Base]] = {
    "smooth_l1": _smooth_l1,
    "huber": _huber,
    "mse": _mse,
    "mae": _mae,
    "ccc": _ccc,
}


def build_loss(config: LossConfig) -> Loss:
    """Return the loss of a recipe: its base, plus ranking and spread where they have a weight.

    The loss takes scores and targets, float (batch, target), in one unit, and optionally groups,
    int64 (batch,): the rows that are ranked against each other. Without groups the whole batch is
    one. A mean is over known labels; the weight of a target scales its terms of the base.

    Args:
        config: Name, width and weights.

    Returns:
        Scores, targets, groups to a scalar; 0 for a batch without a single known label. It raises
        ``ConfigError`` where there is not one weight for each target.

    Raises:
        UnknownComponent: There is no loss of that name.

    Source:
        Girshick 2015, Fast R-CNN, eq. 3 (``smooth_l1``, there with beta 1); Huber 1964, Robust
        estimation of a location parameter (``huber``); Lin 1989, A concordance correlation
        coefficient to evaluate reproducibility (``ccc``).
    """
    if config.name not in LOSSES:
        raise UnknownComponent("loss", config.name, LOSSES)
    base = LOSSES[config.name]

    def loss(scores: Tensor, targets: Tensor, groups: Tensor | None = None, /) -> Tensor:
        with torch.autocast(scores.device.type, enabled=False):
            precise = torch.promote_types(scores.dtype, torch.float32)
            scores, targets = scores.to(precise), targets.to(precise)
            known = ~targets.isnan()
            # Before any difference is taken: zero times the slope of a NaN is a NaN.
            targets = torch.where(known, targets, 0.0)
            terms, counted = base(scores, targets, known, config.beta)
            if config.target_weights is not None:
                terms = terms * _weights(config.target_weights, scores)
            value = _mean(terms, counted)
            if config.ranking_weight:
                ranking = _ranking(scores, targets, known, groups, config.beta)
                value = value + config.ranking_weight * ranking
            if config.spread_weight:
                value = value + config.spread_weight * _spread(scores, targets, known)
        return value

    return loss


def _ranking(
    scores: Tensor, targets: Tensor, known: Tensor, groups: Tensor | None, scale: float
) -> Tensor:
    """Mean of log(1 + exp(-(s_i - s_j) / scale)) over pairs of a group with target i above j.

    The scale is the base's beta: a lead of that many score units counts as clear. Source: Burges
    et al. 2005, Learning to rank using gradient descent, the cost of a certain pair.
    """
    lead = scores[:, None] - scores
    ordered = (targets[:, None] > targets) & known[:, None] & known
    if groups is not None:
        ordered = ordered & (groups[:, None] == groups)[..., None]
    return _mean(functional.softplus(-lead / scale), ordered)


def _spread(scores: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference of the deviations of scores and targets, one pair a target."""
    rows = known.sum(dim=0).clamp_min(1)
    score_sd, target_sd = (
        (_centred(values, known)[1].square().sum(dim=0) / rows + _FLOOR).sqrt()
        for values in (scores, targets)
    )
    # One row has no spread that the scores could miss.
    return _mean((score_sd - target_sd).square(), known.sum(dim=0) > 1)


def _centred(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (target,) of the known values, and what they differ by, 0 where unknown."""
    mean = torch.where(known, values, 0.0).sum(dim=0) / known.sum(dim=0).clamp_min(1)
    return mean, torch.where(known, values - mean, 0.0)


def _mean(terms: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, terms, 0.0).sum() / counted.sum().clamp_min(1)


def _weights(weights: tuple[float, ...], scores: Tensor) -> Tensor:
    if len(weights) != scores.shape[1]:
        raise ConfigError(
            f"loss.target_weights has {len(weights)} entries; there are {scores.shape[1]} targets.",
            hint="Give one weight for each target, in the order of the corpus.",
        )
    tensor = scores.new_tensor(weights)
    return tensor / tensor.mean()
