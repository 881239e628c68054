"""AdamW over two groups of parameters, and schedules that are pure functions of the progress."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from mmperson.config import OptimConfig
from mmperson.training.state import Progress

_PLATEAU_FACTOR = 0.8
_PLATEAU_PATIENCE = 5  # Epochs in a row that may go by without a better metric.
_PLATEAU_LEAST = 1e-6
"""ReduceLROnPlateau's settings in "Traits Run Deep" (AVI Challenge 2025), released training code;
as there, the sixth such epoch lowers the rate."""


def build_optimizer(
    network: nn.Module, config: OptimConfig, pretrained: Collection[str]
) -> torch.optim.AdamW:
    """Group the trainable parameters by rate and decay.

    Pretrained weights learn at ``encoder_lr``, all others at ``lr``. Vectors (biases, norms,
    learned tokens) are not decayed.

    Args:
        network: What is trained.
        config: Rates and decay.
        pretrained: Modalities whose encoder has a backbone with pretrained weights.
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

    The rate rises along a line. Then it falls: half a cosine down to zero, or on a plateau.

    Args:
        optimizer: Made by ``build_optimizer``.
        config: The schedule.
        progress: StepDataset done, and how often the rate was lowered on a plateau.
        steps: StepDataset of the whole training.

    Returns:
        The factor on the highest rate, in (0, 1].
    """
    rising, step = max(1, round(config.warmup * steps)), progress.step
    plateau = config.schedule == "plateau"
    if step < rising:
        factor = (step + 1) / rising
    elif plateau:
        factor = _PLATEAU_FACTOR**progress.lowered
    else:
        factor = 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
    for group in optimizer.param_groups:
        group["lr"] = max(factor * group["peak_lr"], _PLATEAU_LEAST if plateau else 0.0)
    return factor


def wait_for_better(progress: Progress, epoch: int) -> None:
    """Count the epochs since the best one, and lower the rate if there were too many.

    The counter starts again when the rate is lowered.

    Args:
        progress: Its ``waited`` and ``lowered`` are changed.
        epoch: The epoch that was selected on last, from 0.
    """
    progress.waited = 0 if progress.best_epoch == epoch else progress.waited + 1
    if progress.waited > _PLATEAU_PATIENCE:
        progress.waited, progress.lowered = 0, progress.lowered + 1
