"""Losses by name. To add one, write a function and add a line to ``LOSSES``.

A NaN target is an unknown label; it is excluded from all terms and gradients. Losses are computed
in float32 (float64 for float64 scores), also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mmperson.config import LossConfig
from mmperson.errors import ConfigError

_FLOOR = 1e-8
"""Added to variances, (1e-4 score units)²: keeps gradients finite for constant scores."""


# (scores, targets, known, beta) to terms and their mask, which broadcast against (batch, target).
_Base = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


def _smooth_l1(
    scores: Tensor, targets: Tensor, known: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """Quadratic below ``beta``, linear with slope one beyond."""
    return functional.smooth_l1_loss(scores, targets, beta=beta, reduction="none"), known


def _huber(scores: Tensor, targets: Tensor, known: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Quadratic below ``beta``, linear with slope beta beyond."""
    return functional.huber_loss(scores, targets, delta=beta, reduction="none"), known


def _mse(scores: Tensor, targets: Tensor, known: Tensor, _: float) -> tuple[Tensor, Tensor]:
    return (scores - targets).square(), known


def _mae(scores: Tensor, targets: Tensor, known: Tensor, _: float) -> tuple[Tensor, Tensor]:
    return (scores - targets).abs(), known


def _ccc(scores: Tensor, targets: Tensor, known: Tensor, _: float) -> tuple[Tensor, Tensor]:
    """One minus each target's concordance correlation over the batch; one for constant targets."""
    score_mean, score_deviation = _centred(scores, known)
    target_mean, target_deviation = _centred(targets, known)
    rows = known.sum(dim=0).clamp_min(1)
    covariance = (score_deviation * target_deviation).sum(dim=0) / rows
    variances = (score_deviation.square() + target_deviation.square()).sum(dim=0) / rows
    shift = (score_mean - target_mean).square()
    return 1.0 - 2.0 * covariance / (variances + shift + _FLOOR), known.any(dim=0)


LOSSES: Mapping[str, _Base] = {
    "smooth_l1": _smooth_l1,
    "huber": _huber,
    "mse": _mse,
    "mae": _mae,
    "ccc": _ccc,
}


def build_loss(config: LossConfig) -> Callable[..., Tensor]:
    """Return the loss of a recipe: its base plus weighted ranking and spread terms.

    The loss takes scores and targets, float (batch, target), in one unit, and optionally groups,
    int64 (batch,): only rows of one group are ranked against each other. Means are over known
    labels; target weights scale the terms of the base.

    Args:
        config: Name, width and weights.

    Returns:
        Function of scores, targets and groups that returns a scalar, 0 without known labels. It
        raises ``ConfigError`` unless there is one weight per target.

    Source:
        Girshick 2015, Fast R-CNN, eq. 3 (``smooth_l1``, there with beta 1); Huber 1964, Robust
        estimation of a location parameter (``huber``); Lin 1989, A concordance correlation
        coefficient to evaluate reproducibility (``ccc``).
    """
    base = LOSSES[config.name]

    def loss(scores: Tensor, targets: Tensor, groups: Tensor | None = None, /) -> Tensor:
        with torch.autocast(scores.device.type, enabled=False):
            precise = torch.promote_types(scores.dtype, torch.float32)
            scores, targets = scores.to(precise), targets.to(precise)
            known = ~targets.isnan()
            # Before any difference is taken: zero times the gradient of a NaN is NaN.
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

    Source: Burges et al. 2005, Learning to rank using gradient descent, the cost of a certain pair.
    """
    lead = scores[:, None] - scores
    ordered = (targets[:, None] > targets) & known[:, None] & known
    if groups is not None:
        ordered = ordered & (groups[:, None] == groups)[..., None]
    return _mean(functional.softplus(-lead / scale), ordered)


def _spread(scores: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference of the standard deviations of scores and targets."""
    rows = known.sum(dim=0).clamp_min(1)
    score_sd, target_sd = (
        (_centred(values, known)[1].square().sum(dim=0) / rows + _FLOOR).sqrt()
        for values in (scores, targets)
    )
    # One row has no standard deviation.
    return _mean((score_sd - target_sd).square(), known.sum(dim=0) > 1)


def _centred(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (target,) of the known values, and deviations from it, 0 where unknown."""
    mean = torch.where(known, values, 0.0).sum(dim=0) / known.sum(dim=0).clamp_min(1)
    return mean, torch.where(known, values - mean, 0.0)


def _mean(terms: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, terms, 0.0).sum() / counted.sum().clamp_min(1)


def _weights(weights: tuple[float, ...], scores: Tensor) -> Tensor:
    if len(weights) != scores.shape[1]:
        raise ConfigError(
            f"loss.target_weights has {len(weights)} entries; there are {scores.shape[1]} targets.",
            hint="Give one weight per target, in the order of data.targets.",
        )
    tensor = scores.new_tensor(weights)
    return tensor / tensor.mean()
