"""Losses by name: scores and targets in, one number out. Adding one is a function and a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional

from mmperson.config import LossConfig
from mmperson.errors import UnknownComponent

Loss = Callable[[Tensor, Tensor], Tensor]


def _smooth_l1(config: LossConfig) -> Loss:
    """Quadratic below ``beta``, linear beyond; divided by beta, so that its slope there is one."""
    return lambda scores, targets: functional.smooth_l1_loss(scores, targets, beta=config.beta)


def _mse(config: LossConfig) -> Loss:
    return functional.mse_loss


def _mae(config: LossConfig) -> Loss:
    return functional.l1_loss


LOSSES: Mapping[str, Callable[[LossConfig], Loss]] = {
    "smooth_l1": _smooth_l1,
    "mse": _mse,
    "mae": _mae,
}


def build_loss(config: LossConfig) -> Loss:
    """Return the loss: float (batch, trait) scores and targets to a scalar mean.

    Raises:
        UnknownComponent: There is no loss of that name.
    """
    if config.name not in LOSSES:
        raise UnknownComponent("loss", config.name, LOSSES)
    return LOSSES[config.name](config)
