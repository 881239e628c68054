"""Acoustic descriptors as a few tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import AudioEncoderConfig
from mmperson.models.memory import KernelMemory
from mmperson.models.tokens import Tokens
from mmperson.traits import TRAITS


class DescriptorEncoder(nn.Module):
    """Standardise clip-level descriptors, recall similar clips, and spread both over a few tokens.

    Args:
        config: Number and width of the tokens.
        size: Number of descriptors.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: AudioEncoderConfig, size: int) -> None:
        super().__init__()
        self.tokens, self.dim = config.tokens, config.dim
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.memory = KernelMemory(size, len(TRAITS))
        width = 2 * config.dim
        self.body = nn.Sequential(
            nn.Linear(size, width), nn.GELU(), nn.Dropout(config.dropout), nn.LayerNorm(width)
        )
        self.mix = nn.Sequential(nn.Linear(width + len(TRAITS), width), nn.GELU())
        self.out = nn.Linear(width + len(TRAITS), config.tokens * config.dim)

    def fit_scale(self, descriptors: Tensor) -> None:
        """Take mean and standard deviation from training rows.

        Args:
            descriptors: float (row, descriptor), without missing values.
        """
        self.mean.copy_(descriptors.mean(dim=0))
        self.scale.copy_(descriptors.std(dim=0).clamp_min(1e-6))

    def standardise(self, descriptors: Tensor) -> Tensor:
        """Scale descriptors, float (batch, descriptor), to training mean 0 and deviation 1.

        Recordings far outside the training range are held at its edge instead of extrapolated.
        """
        return ((descriptors - self.mean) / self.scale).clamp(-5.0, 5.0)

    def forward(self, descriptors: Tensor) -> Tokens:
        """Encode descriptors.

        Args:
            descriptors: float (batch, descriptor), in the units of the acoustic descriptors.

        Returns:
            Tokens, float (batch, token, dim); all of them real.
        """
        standard = self.standardise(descriptors)
        recalled = self.memory(standard)
        mixed = self.mix(torch.cat([self.body(standard), recalled], dim=-1))
        values = self.out(torch.cat([mixed, recalled], dim=-1))
        values = values.reshape(-1, self.tokens, self.dim)
        return Tokens(values, torch.ones_like(values[..., 0]))
