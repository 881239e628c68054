"""One feature vector per clip."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmperson.config import VectorConfig
from mmperson.models.encoders.encoder import Encoder, InputBatch
from mmperson.models.layers.kernel_memory import KernelMemory
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.modality import ModalitySpec
from mmperson.traits import TRAITS


class VectorEncoder(Encoder):
    """Map a clip's standardised vector, and the ratings of similar clips, to a few tokens."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self, config: VectorConfig, spec: ModalitySpec, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        (size,) = spec.shape
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

    def fit(self, batches: Iterable[InputBatch]) -> None:
        """Set mean and standard deviation of each feature of training rows."""
        vectors, masks, present = (torch.cat(parts) for parts in zip(*batches, strict=True))
        known = masks * present.unsqueeze(-1)
        count = known.sum(dim=0).clamp_min(1.0)
        mean = (vectors * known).sum(dim=0) / count
        squares = ((vectors - mean).square() * known).sum(dim=0)
        self.mean.copy_(mean)
        self.scale.copy_((squares / (count - 1.0).clamp_min(1.0)).sqrt().clamp_min(1e-6))

    def standardise(self, vectors: Tensor) -> Tensor:
        """Scale vectors, float (batch, feature), to training mean 0 and deviation 1; clip to ±5."""
        return ((vectors - self.mean) / self.scale).clamp(-5.0, 5.0)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode vectors.

        Args:
            x: float (batch, feature), in the features' units.
            mask: float (batch, feature), 1 where a feature is known; others count as the mean.

        Returns:
            Tokens, float (batch, token, dim); all are real.
        """
        standard = self.standardise(x) * mask
        recalled = self.memory(standard)
        mixed = self.mix(torch.cat([self.body(standard), recalled], dim=-1))
        values = self.out(torch.cat([mixed, recalled], dim=-1))
        values = values.reshape(-1, self.tokens, self.dim)
        return Tokens(values, torch.ones_like(values[..., 0]))
