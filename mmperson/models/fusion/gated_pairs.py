"""Gated fusion of every pair of modalities."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from mmperson.config import GatedPairsConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.pooling import PooledVectors
from mmperson.models.tokens import Tokens


class GatedPairsFusion(Fusion):
    r"""A gate weighs the two modalities of each pair; a ReLU layer joins all pairs.

    .. math:: h_{12} = g \odot \tanh(W_1 x_1) + (1 - g) \odot \tanh(W_2 x_2), \quad
              g = \sigma(W [x_1; x_2])

    with the pooled vectors :math:`x_m` of ``PooledVectors``. With a single modality there is no
    gate: :math:`h_1 = \tanh(W_1 x_1)`. As published, each trait is then a sigmoid of one linear
    layer: the ``per_trait`` head with ``hidden`` 0 and ``output`` sigmoid.

    Source: Ryumina et al. 2024, Gated Siamese fusion network based on multimodal deep and
    hand-crafted features for personality traits assessment (OCEAN-AI); the gate is the bimodal unit
    of Arevalo et al. 2017, Gated multimodal units for information fusion.
    """

    def __init__(self, config: GatedPairsConfig, dims: dict[str, int], targets: int) -> None:
        super().__init__(dims, targets, config.dim)
        groups: list[tuple[str, ...]] = [*itertools.combinations(self.modalities, 2)] or [
            tuple(self.modalities)
        ]
        self.pool = PooledVectors(dims)
        self.pairs = nn.ModuleList(_Gated(group, dims, config.pair_dim) for group in groups)
        self.body = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(len(groups) * config.pair_dim, config.dim),
            nn.ReLU(),
        )

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        vectors = self.pool(tokens, present)
        joined = torch.cat([pair(vectors) for pair in self.pairs], dim=-1)
        return Fused(self.expand(self.body(joined)))


class _Gated(nn.Module):
    """One pair, or a single modality; float (batch, dim)."""

    def __init__(self, names: tuple[str, ...], dims: dict[str, int], dim: int) -> None:
        super().__init__()
        self.project = nn.ModuleDict({name: nn.Linear(dims[name], dim) for name in names})
        both = sum(dims[name] for name in names)
        self.gate = nn.Linear(both, dim) if len(names) > 1 else None

    def forward(self, vectors: dict[str, Tensor]) -> Tensor:
        one, *other = (layer(vectors[name]).tanh() for name, layer in self.project.items())
        if self.gate is None:
            return one
        gate = self.gate(torch.cat([vectors[name] for name in self.project], dim=-1)).sigmoid()
        return gate * one + (1.0 - gate) * other[0]
