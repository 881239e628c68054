"""Compact trait-query fusion: every trait attends to one token per modality."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmperson.config import TraitQueryConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.attention import Attention
from mmperson.models.layers.pooling import PooledVectors, presence
from mmperson.models.tokens import MASKED, Tokens

_LOGIT_OF_A_TENTH = math.log(0.1 / 0.9)


class TraitQueryFusion(Fusion):
    r"""A trunk over all modalities, and trait queries that attend to them again.

    Each modality becomes one token, :math:`z_m = \mathrm{GELU}(W_m x_m)`, of the pooled vectors of
    ``PooledVectors``. The trunk is :math:`h = \mathrm{LN}(\mathrm{GELU}(W\,\mathrm{LN}[z_1; z_2;
    z_3]))`. A trait with embedding :math:`e_t` attends to the tokens, with a query that depends on
    the trunk:

    .. math:: q_t &= W_q (e_t + \beta\, U (\tanh(S\, \mathrm{LN}\, h) \odot \tanh(T e_t))) \\
              c_t &= \sum_m \mathrm{softmax}_m(q_t \cdot W_k z_m / \sqrt{d})\, W_v z_m \\
              r_t &= \mathrm{LN}(h + \alpha\, W_o c_t)

    where the interaction has a small rank, :math:`\alpha` and :math:`\beta` are learned shares that
    start at .1, and absent modalities are masked.

    Source: the released trait-query networks for First Impressions, which read four tokens: face,
    speech, acoustic descriptors and transcript. Here a modality has one token.
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
        self.alpha = nn.Parameter(torch.tensor(_LOGIT_OF_A_TENTH))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        vectors = self.pool(tokens, present)
        keys = torch.stack([self.tokens[name](vectors[name]) for name in vectors], dim=1)
        is_present = torch.stack([presence(present, name) for name in vectors], dim=-1)
        trunk = self.trunk(keys.flatten(1))
        queries = self.interact(trunk, self.traits)
        attended = self.attend(queries, keys, (1.0 - is_present) * MASKED)
        return Fused(self.norm(self.expand(trunk) + self.alpha.sigmoid() * attended))


class _Interaction(nn.Module):
    """Trait embeddings plus a low-rank term of the trunk; float (batch, target, token)."""

    def __init__(self, dim: int, token: int, rank: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.from_trunk = nn.Linear(dim, rank, bias=False)
        self.from_trait = nn.Linear(token, rank, bias=False)
        self.back = nn.Linear(rank, token, bias=False)
        self.beta = nn.Parameter(torch.tensor(_LOGIT_OF_A_TENTH))

    def forward(self, trunk: Tensor, traits: Tensor) -> Tensor:
        state = self.from_trunk(self.norm(trunk)).tanh().unsqueeze(1)
        changed = self.back(state * self.from_trait(traits).tanh())
        return traits + self.beta.sigmoid() * changed
