"""A sequence of feature vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmperson.config import SequenceConfig
from mmperson.models.encoders.encoder import Encoder, InputBatch
from mmperson.models.tokens import Tokens, average_tokens
from mmperson.preprocessing.modality import ModalitySpec

_MAX_TOKENS = 16
_CLIP = 5.0  # Standard deviations.


class SequenceEncoder(Encoder):
    """Standardise the features and project them to at most 16 tokens over time."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self, config: SequenceConfig, spec: ModalitySpec, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        frames, size = spec.shape
        self.dim, self.group = config.dim, math.ceil(frames / _MAX_TOKENS)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.body = nn.Sequential(
            nn.Linear(size, 2 * config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.dim, config.dim),
        )

    def fit(self, batches: Iterable[InputBatch]) -> None:
        """Set mean and standard deviation of each feature over all frames of training rows."""
        count = torch.zeros((), dtype=torch.float64)
        total, squares = (torch.zeros_like(self.mean, dtype=torch.float64) for _ in range(2))
        for x, mask, present in batches:
            real = (mask * present.unsqueeze(-1)).double().unsqueeze(-1)
            frames = x.double() * real
            count += real.sum()
            total += frames.sum(dim=(0, 1))
            squares += frames.square().sum(dim=(0, 1))
        count = count.clamp_min(1.0)
        mean = total / count
        self.mean.copy_(mean)
        self.scale.copy_((squares / count - mean.square()).clamp_min(0.0).sqrt().clamp_min(1e-6))

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode features.

        Args:
            x: float (batch, time, feature), in the features' units.
            mask: float (batch, time), 1 where there is sound.

        Returns:
            float (batch, token, dim), and their mask; each token averages equally many frames.
        """
        standard = ((x - self.mean) / self.scale).clamp(-_CLIP, _CLIP)
        tokens = Tokens(self.body(standard * mask.unsqueeze(-1)), mask)
        return average_tokens(tokens, self.group)
