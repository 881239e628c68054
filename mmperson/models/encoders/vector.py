"""One vector per clip as a few tokens: acoustic descriptors, prosody, feature columns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import VectorConfig
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.layers.kernel_memory import KernelMemory
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.spec import ColumnSpec, DescriptorSpec, ProsodySpec
from mmperson.traits import TRAITS


class VectorEncoder(Encoder):
    """Standardise a clip's vector, recall similar clips, and spread both over a few tokens.

    Args:
        config: Number and width of the tokens.
        spec: What the vector holds.
        pretrained: Nothing here is.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        config: VectorConfig,
        spec: DescriptorSpec | ProsodySpec | ColumnSpec,
        *,
        pretrained: bool = True,
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

    def fit_scale(self, vectors: Tensor, known: Tensor) -> None:
        """Take mean and standard deviation of each feature from training rows.

        Args:
            vectors: float (row, feature), zero where unknown.
            known: float (row, feature), 1 where known.
        """
        count = known.sum(dim=0).clamp_min(1.0)
        mean = (vectors * known).sum(dim=0) / count
        squares = ((vectors - mean).square() * known).sum(dim=0)
        self.mean.copy_(mean)
        self.scale.copy_((squares / (count - 1.0).clamp_min(1.0)).sqrt().clamp_min(1e-6))

    def standardise(self, vectors: Tensor) -> Tensor:
        """Scale vectors, float (batch, feature), to training mean 0 and deviation 1.

        Clips far outside the training range are held at its edge instead of extrapolated.
        """
        return ((vectors - self.mean) / self.scale).clamp(-5.0, 5.0)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode vectors.

        Args:
            x: float (batch, feature), in their own units.
            mask: float (batch, feature), 1 where a feature is known; the others count as average.

        Returns:
            Tokens, float (batch, token, dim); all of them real.
        """
        standard = self.standardise(x) * mask
        recalled = self.memory(standard)
        mixed = self.mix(torch.cat([self.body(standard), recalled], dim=-1))
        values = self.out(torch.cat([mixed, recalled], dim=-1))
        values = values.reshape(-1, self.tokens, self.dim)
        return Tokens(values, torch.ones_like(values[..., 0]))
