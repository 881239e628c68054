"""Compact trait-query fusion: every trait asks one token per modality."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmperson.config import TraitQueryConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.attention import Attention
from mmperson.models.layers.pooling import PooledVectors, presence
from mmperson.models.tokens import MASKED, Tokens

_SHARE = math.log(0.1 / 0.9)
"""A share that begins at a tenth, before its sigmoid."""


class TraitQueryFusion(Fusion):
    r"""A trunk over all modalities, and trait queries that look at them again.

    Each modality becomes one token, :math:`z_m = \mathrm{GELU}(W_m x_m)`, of the pooled vectors of
    ``PooledVectors``. The trunk is :math:`h = \mathrm{LN}(\mathrm{GELU}(W\,\mathrm{LN}[z_1; z_2;
    z_3]))`. A trait with embedding :math:`e_t` asks, by what the trunk saw, and the tokens answer:

    .. math:: q_t &= W_q (e_t + \beta\, U (\tanh(S\, \mathrm{LN}\, h) \odot \tanh(T e_t))) \\
              c_t &= \sum_m \mathrm{softmax}_m(q_t \cdot W_k z_m / \sqrt{d})\, W_v z_m \\
              r_t &= \mathrm{LN}(h + \alpha\, W_o c_t)

    where the interaction has a small rank, :math:`\alpha` and :math:`\beta` are learned shares that
    begin at .1, and the attention is over what is present.

    Source: the released trait-query networks for First Impressions, which read four tokens: face,
    speech, acoustic descriptors and transcript. Here a modality has one token.

    Args:
        config: Widths, rank and dropout.
        dims: Token width of each modality that is read.
        targets: Number of targets.
    """

    def __init__(self, config: TraitQueryConfig, dims: dict[str, int], targets: int) -> None:
        super().__init__(dims, targets, config.dim)
        token, joined = config.unimodal_dim, len(dims) * config.unimodal_dim
        self.pool = PooledVectors(dims)
        self.tokens = nn.ModuleDict(
            {name: nn.Sequential(
                nn.Linear(dims[name], token), nn.GELU(), nn.Dropout(config.dropout)
            ) for name in self.modalities}
        )  # fmt: skip
        self.trunk = nn.Sequential(
            nn.LayerNorm(joined), nn.Linear(joined, config.dim), nn.GELU(),
            nn.Dropout(config.dropout), nn.LayerNorm(config.dim),
        )  # fmt: skip
        self.traits = nn.Parameter(0.02 * torch.randn(targets, token))
        self.interact = _Interaction(config.dim, token, config.rank)
        self.attend = Attention(token, heads=1, out_dim=config.dim)
        self.alpha = nn.Parameter(torch.tensor(_SHARE))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        vectors = self.pool(tokens, present)
        seen = torch.stack([self.tokens[name](vectors[name]) for name in vectors], dim=1)
        here = torch.stack([presence(present, name) for name in vectors], dim=-1)
        trunk = self.trunk(seen.flatten(1))
        asked = self.attend(self.interact(trunk, self.traits), seen, (1.0 - here) * MASKED)
        return Fused(self.norm(self.expand(trunk) + self.alpha.sigmoid() * asked))


class _Interaction(nn.Module):
    """Trait embeddings, changed a little by the trunk; float (batch, target, token)."""

    def __init__(self, dim: int, token: int, rank: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.from_trunk = nn.Linear(dim, rank, bias=False)
        self.from_trait = nn.Linear(token, rank, bias=False)
        self.back = nn.Linear(rank, token, bias=False)
        self.beta = nn.Parameter(torch.tensor(_SHARE))

    def forward(self, trunk: Tensor, traits: Tensor) -> Tensor:
        state = self.from_trunk(self.norm(trunk)).tanh().unsqueeze(1)
        changed = self.back(state * self.from_trait(traits).tanh())
        return traits + self.beta.sigmoid() * changed
