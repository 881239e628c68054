"""AdamW over two groups of parameters, and a schedule that is a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from mmperson.config import OptimConfig


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


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, warmup: float) -> float:
    """Set every group's learning rate for a step: a linear rise, then half a cosine down to zero.

    Args:
        optimizer: Made by ``build_optimizer``.
        step: Number of this step, from 0.
        steps: Steps of the whole training.
        warmup: Share of the steps that rise.

    Returns:
        The factor on the highest rate, in (0, 1].
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        factor = (step + 1) / rising
    else:
        factor = 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]
    return factor
