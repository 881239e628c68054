"""Regression heads: one vector per trait in, one score per trait out."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from mmperson.config import HeadsConfig


class EnsembleHead(nn.Module):
    """The mean of many small independent regressors, in units of each trait's training spread.

    Each member is an MLP E → E/2 → 32 → 1 with ReLU, shared by the traits; all members run as
    batched matrix products.

    Source: "Traits Run Deep" (AVI Challenge 2025), ensemble regression head with 32 members.

    Args:
        config: Number of members.
        dim: Width E of a trait's vector.
        traits: Number of traits.
    """

    base: Tensor
    scale: Tensor

    def __init__(self, config: HeadsConfig, dim: int, traits: int) -> None:
        super().__init__()
        widths = (dim, dim // 2, 32, 1)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for wide, narrow in itertools.pairwise(widths):
            bound = 1.0 / math.sqrt(wide)
            self.weights.append(
                nn.Parameter(torch.empty(config.members, wide, narrow).uniform_(-bound, bound))
            )
            self.biases.append(nn.Parameter(torch.zeros(config.members, 1, narrow)))
        self.register_buffer("base", torch.full((traits,), 0.5))
        self.register_buffer("scale", torch.full((traits,), 0.15))

    def fit_scale(self, targets: Tensor) -> None:
        """Take mean and deviation of each trait from training targets, float (row, trait)."""
        self.base.copy_(targets.mean(dim=0))
        self.scale.copy_(targets.std(dim=0))

    def forward(self, fused: Tensor) -> Tensor:
        """Score the traits.

        Args:
            fused: float (batch, trait, dim).

        Returns:
            float (batch, trait), about [0, 1].
        """
        batch, traits, dim = fused.shape
        x = fused.reshape(1, batch * traits, dim)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (torch.relu(x) if index else x) @ weight + bias
        return self.base + self.scale * x.mean(dim=0).reshape(batch, traits)
