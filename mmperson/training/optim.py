"""AdamW with parameter groups, and learning-rate schedules as functions of the progress."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from mmperson.config import OptimConfig
from mmperson.training.state import Progress

_PLATEAU_FACTOR = 0.8
_PLATEAU_PATIENCE = 5  # Epochs without improvement before the rate is lowered.
_PLATEAU_MIN_RATE = 1e-6
"""ReduceLROnPlateau's settings in the released training code of "Traits Run Deep" (AVI Challenge
2025)."""


def build_optimizer(
    network: nn.Module, config: OptimConfig, pretrained: Collection[str]
) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters, grouped by learning rate and weight decay.

    Pretrained weights learn at ``encoder_lr``, all others at ``lr``. Vectors (biases, norms,
    learned tokens) are not decayed.

    Args:
        network: The network.
        config: Rates and decay.
        pretrained: Modalities whose encoder has a pretrained backbone.
    """
    slow = tuple(f"encoders.{name}.backbone." for name in pretrained)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = config.encoder_lr if name.startswith(slow) else config.lr
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
         for (rate, decay), parameters in groups.items()]
    )  # fmt: skip


def set_rate(
    optimizer: torch.optim.Optimizer, config: OptimConfig, progress: Progress, steps: int
) -> float:
    """Set every group's learning rate for the next step.

    After a linear warmup the rate follows half a cosine to zero, or is lowered on plateaus.

    Args:
        optimizer: From ``build_optimizer``.
        config: The schedule.
        progress: Steps done, and how often the rate was lowered on a plateau.
        steps: Steps of the whole training.

    Returns:
        The factor on the peak rate, in (0, 1].
    """
    warmup, step = max(1, round(config.warmup * steps)), progress.step
    plateau = config.schedule == "plateau"
    if step < warmup:
        factor = (step + 1) / warmup
    elif plateau:
        factor = _PLATEAU_FACTOR**progress.lowered
    else:
        factor = 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = max(factor * group["peak_lr"], _PLATEAU_MIN_RATE if plateau else 0.0)
    return factor


def wait_for_better(progress: Progress, epoch: int) -> None:
    """Count epochs without improvement; lower the rate after too many, and reset the count.

    Args:
        progress: Its ``waited`` and ``lowered`` are changed.
        epoch: The last evaluated epoch, from 0.
    """
    progress.waited = 0 if progress.best_epoch == epoch else progress.waited + 1
    if progress.waited > _PLATEAU_PATIENCE:
        progress.waited, progress.lowered = 0, progress.lowered + 1
