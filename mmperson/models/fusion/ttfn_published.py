"""The Text-Centric Trait Fusion Network as published: one pooled vector per modality."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmperson.config import TtfnPublishedConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.pooling import masked_mean, presence
from mmperson.models.tokens import Tokens

_CHUNK_WIDTHS = (1024, 2048, 4096, 8192, 16384)
"""Input widths from which on a projector has twice as many chunks."""
_ENHANCER_DROPOUT = 0.1


class PublishedTextCentricFusion(Fusion):
    r"""Audio and video attend to the text; a gated sum of all modalities enhances the text.

    Projectors make audio and video vectors a and v and two text vectors: t for the connectors and
    :math:`t_2` for the enhancer. With :math:`m \in \{a, v\}` a connector computes

    .. math:: q = W_q m,\; k = W_k t,\; u = W_v t, \quad
              s = \mathrm{softmax}_h(q_h \cdot k_h / \sqrt{d_h}), \quad
              m_t = \mathrm{LN}(\mathrm{Dropout}(W_o [s_h u_h]_h))

    The softmax is over the **heads**, since each modality is one token, and there is no residual.
    The enhancer then computes

    .. math:: \gamma &= \mathrm{softmax}(W_2\, \mathrm{ReLU}(W_1 [a_t; v_t; t_2])) \\
              h &= \mathrm{LN}(t_2 + \mathrm{Dropout}(\gamma_1 A a_t + \gamma_2 B v_t + \gamma_3 C
              t_2))

    Every target gets h. As published, each target has its own 32-member head: the ``ensemble`` head
    with ``shared`` false. Audio or video that the recipe lacks has no connector; text that it lacks
    is a learned vector.

    Source: Traits Run Deep: enhancing personality assessment via psychology-guided LLM
    representations and multimodal apparent behaviors (AVI Challenge 2025), text-centric trait
    fusion network.
    """

    def __init__(self, config: TtfnPublishedConfig, dims: dict[str, int], targets: int) -> None:
        super().__init__(dims, targets, config.dim)
        self.others = [name for name in self.modalities if name != "text"]
        texts = {"text": config.unimodal_dim, "text_enhanced": config.dim}
        if not self.others:
            del texts["text"]
        self.project = nn.ModuleDict()
        self.unread = nn.ParameterDict()
        for name in self.others:
            self.project[name] = ChunkProjector(dims[name], config.unimodal_dim, config.dropout)
        for name, width in texts.items():
            if "text" in dims:
                self.project[name] = ChunkProjector(dims["text"], width, config.dropout)
            else:
                self.unread[name] = nn.Parameter(0.02 * torch.randn(width))
        self.connect = nn.ModuleDict({name: _Connector(config) for name in self.others})
        self.enhance = _Enhancer(config.dim, parts=len(self.others) + 1)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``; each is pooled to its masked mean."""
        projected = {
            name: vector.expand(present.shape[0], -1) for name, vector in self.unread.items()
        }
        pooled = {name: masked_mean(tokens[name]) for name in self.modalities}
        for name, project in self.project.items():
            modality = "text" if name == "text_enhanced" else name
            projected[name] = project(pooled[modality], presence(present, modality))
        connected = [self.connect[name](projected[name], projected["text"]) for name in self.others]
        return Fused(self.expand(self.enhance(connected, projected["text_enhanced"])))


class ChunkProjector(nn.Module):
    r"""A vector cut into chunks, each projected by its own small network and gated.

    .. math:: f_i = \mathrm{Dropout}(W'_i\, \mathrm{LN}(\mathrm{ReLU}(W_i x_i))), \quad
              g_i = p\, \sigma(w \cdot [f_i; t_i] + b), \quad
              y = [g_i f_i + (1 - g_i) t_i]_i + r

    with learned tokens :math:`t_i`, a learned vector r and one gate for all chunks. The presence p
    in {0, 1} is our addition: a missing modality becomes its learned tokens.

    Args:
        dim: Width of the input.
        out_dim: Width of the output.
        dropout: Dropout of each chunk's output.
    """

    def __init__(self, dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.chunks = chunk_count(dim, out_dim)
        dim, out_dim = dim // self.chunks, out_dim // self.chunks
        self.widen = _ChunkLinear(self.chunks, dim, 4 * out_dim)
        self.norm_weight = nn.Parameter(torch.ones(self.chunks, 1, 4 * out_dim))
        self.norm_bias = nn.Parameter(torch.zeros(self.chunks, 1, 4 * out_dim))
        self.narrow = _ChunkLinear(self.chunks, 4 * out_dim, out_dim)
        self.dropout = nn.Dropout(dropout)
        self.tokens = nn.Parameter(0.02 * torch.randn(self.chunks, 1, out_dim))
        self.gate = nn.Linear(2 * out_dim, 1)
        nn.init.orthogonal_(self.gate.weight)
        nn.init.constant_(self.gate.bias, 0.5)
        self.shift = nn.Parameter(torch.full((self.chunks * out_dim,), 0.1))

    def forward(self, x: Tensor, is_present: Tensor) -> Tensor:
        """Project vectors.

        Args:
            x: float (batch, dim).
            is_present: float (batch, 1), 1 where the modality is present.

        Returns:
            float (batch, out_dim).
        """
        hidden = self.widen(x.unflatten(-1, (self.chunks, -1)).transpose(0, 1)).relu()
        hidden = functional.layer_norm(hidden, hidden.shape[-1:])
        projected = self.dropout(self.narrow(hidden * self.norm_weight + self.norm_bias))
        tokens = self.tokens.expand_as(projected)
        gate = is_present * self.gate(torch.cat([projected, tokens], dim=-1)).sigmoid()
        return (gate * projected + (1.0 - gate) * tokens).transpose(0, 1).flatten(1) + self.shift


def chunk_count(dim: int, out_dim: int) -> int:
    """Return the number of chunks of a projector.

    The published rule gives 1 below 1,024 inputs, then 2, and twice as many from each of 2,048,
    4,096, 8,192 and 16,384 on. It is halved until it divides both widths.

    >>> chunk_count(4096, 512), chunk_count(1025, 512)
    (8, 1)
    """
    chunks = 2 ** sum(dim >= width for width in _CHUNK_WIDTHS)
    return math.gcd(chunks, dim, out_dim)


class _ChunkLinear(nn.Module):
    """A linear layer per chunk; float (chunk, batch, dim) to (chunk, batch, out_dim)."""

    def __init__(self, chunks: int, dim: int, out_dim: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(dim)
        self.weight = nn.Parameter(torch.empty(chunks, dim, out_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(chunks, 1, out_dim).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class _Connector(nn.Module):
    """Attention from a modality to the text; two float (batch, unimodal) to float (batch, dim)."""

    def __init__(self, config: TtfnPublishedConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.unimodal_dim, config.dim)
        self.key = nn.Linear(config.unimodal_dim, config.dim)
        self.value = nn.Linear(config.unimodal_dim, config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, modality: Tensor, text: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1))
            for layer, x in ((self.query, modality), (self.key, text), (self.value, text))
        )
        weights = ((q * k).sum(dim=-1, keepdim=True) / math.sqrt(q.shape[-1])).softmax(dim=1)
        return self.norm(self.dropout(self.out((weights * v).flatten(1))))


class _Enhancer(nn.Module):
    """The text plus a gated sum of all parts; float (batch, dim)."""

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(parts * dim, dim), nn.ReLU(), nn.Linear(dim, parts))
        self.mix = nn.ModuleList(nn.Linear(dim, dim) for _ in range(parts))
        self.dropout = nn.Dropout(_ENHANCER_DROPOUT)
        self.norm = nn.LayerNorm(dim)

    def forward(self, connected: list[Tensor], text: Tensor) -> Tensor:
        parts = [*connected, text]
        weights = self.weigh(torch.cat(parts, dim=-1)).softmax(dim=-1)
        mixed = torch.stack([mix(part) for mix, part in zip(self.mix, parts, strict=True)], dim=1)
        return self.norm(text + self.dropout((weights.unsqueeze(-1) * mixed).sum(dim=1)))
