"""Concatenated pooled vectors: the baseline fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import ConcatConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.pooling import PooledVectors
from mmperson.models.tokens import Tokens


class ConcatTrunk(nn.Module):
    r"""One hidden layer over the concatenated means of all modalities.

    .. math:: h = \mathrm{GELU}(W [x_1; x_2; x_3] + b)

    with the pooled vectors :math:`x_m` of ``PooledVectors``.

    Args:
        dims: Token width by modality.
        dim: Width of h.
        dropout: Dropout of the pooled vectors.
    """

    def __init__(self, dims: dict[str, int], dim: int, dropout: float) -> None:
        super().__init__()
        self.pool = PooledVectors(dims)
        self.body = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(sum(dims.values()), dim), nn.GELU()
        )

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Tensor:
        """Return h, float (batch, dim)."""
        return self.body(torch.cat(list(self.pool(tokens, present).values()), dim=-1))


class ConcatFusion(Fusion):
    """The vector of ``ConcatTrunk`` for every target."""

    def __init__(self, config: ConcatConfig, dims: dict[str, int], targets: int) -> None:
        super().__init__(dims, targets, config.dim)
        self.trunk = ConcatTrunk(dims, config.dim, config.dropout)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        return Fused(self.expand(self.trunk(tokens, present)))
