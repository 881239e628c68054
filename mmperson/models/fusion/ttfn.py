"""Text-centric trait fusion on token sequences: text asks; audio and video answer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmperson.config import FusionConfig
from mmperson.models.tokens import MASKED, Tokens
from mmperson.schema import MODALITIES
from mmperson.traits import TRAITS


class TextCentricFusion(nn.Module):
    r"""Text tokens query audio and video tokens; trait queries read the result.

    With text tokens T and tokens M of another modality, each block computes

    .. math:: T \leftarrow T + \sum_M \mathrm{MHA}_M(\mathrm{LN}(T), M, M), \quad
              T \leftarrow T + \mathrm{FFN}(\mathrm{LN}(T))

    and one learned query per trait then attends over T. A missing modality is arithmetic: with
    presence p in {0, 1} its tokens are p M + (1 - p) a for a learned "absent" token a, and its
    padding bias is multiplied by p. Any subset may be absent, text included.

    Source: after the Text-Centric Trait Fusion Network of "Traits Run Deep" (AVI Challenge 2025),
    done on token sequences instead of pooled vectors.

    Args:
        config: Width, heads, depth and dropout.
        dims: Token width of each modality that is read.
    """

    def __init__(self, config: FusionConfig, dims: dict[str, int]) -> None:
        super().__init__()
        self.dim = config.dim
        self.modalities = [name for name in MODALITIES if name in dims]
        self.answers = [name for name in self.modalities if name != "text"]
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dims[name], config.dim), nn.LayerNorm(config.dim))
             for name in self.modalities}
        )  # fmt: skip
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(config.dim)) for name in ("text", *self.answers)}
        )
        self.blocks = nn.ModuleList(_Block(config, self.answers) for _ in range(config.layers))
        self.trait_queries = nn.Parameter(0.02 * torch.randn(len(TRAITS), config.dim))
        self.read = Attention(config.dim, config.heads)
        self.length = nn.Linear(1, config.dim)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Tensor:
        """Fuse the modalities.

        Args:
            tokens: Tokens of each modality that is read.
            present: float (batch, 3), 1 where video, audio, text is present.

        Returns:
            float (batch, trait, dim).
        """
        values, bias = {}, {}
        for name in self.modalities:
            here = present[:, MODALITIES.index(name)].reshape(-1, 1, 1)
            projected = self.project[name](tokens[name].values)
            values[name] = here * projected + (1.0 - here) * self.absent[name]
            bias[name] = here * (1.0 - tokens[name].mask.unsqueeze(1)) * MASKED
        if "text" not in values:
            values["text"] = self.absent["text"].expand(present.shape[0], 1, -1)
            bias["text"] = torch.zeros_like(values["text"][..., :1])
        text = values["text"]
        for block in self.blocks:
            text = block(text, values, bias)
        queries = self.trait_queries.expand(present.shape[0], -1, -1)
        fused = queries + self.read(queries, text, bias["text"])
        if "text" in tokens:
            fused = fused + self._length(tokens["text"].mask, present)
        return self.norm(fused)

    def _length(self, mask: Tensor, present: Tensor) -> Tensor:
        """How much was said: the log of the token count, zero where text is absent."""
        here = present[:, MODALITIES.index("text")].reshape(-1, 1)
        log_count = (1.0 + mask.sum(dim=1, keepdim=True)).log() - math.log(50.0)
        return self.length(here * log_count).unsqueeze(1)


class _Block(nn.Module):
    """One round: every other modality answers the text tokens, then a feed-forward layer."""

    def __init__(self, config: FusionConfig, answers: list[str]) -> None:
        super().__init__()
        self.answers = answers
        self.norm = nn.LayerNorm(config.dim)
        self.attend = nn.ModuleDict({name: Attention(config.dim, config.heads) for name in answers})
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(config.dim), nn.Linear(config.dim, 2 * config.dim), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(2 * config.dim, config.dim),
        )  # fmt: skip

    def forward(self, text: Tensor, values: dict[str, Tensor], bias: dict[str, Tensor]) -> Tensor:
        query = self.norm(text)
        for name in self.answers:
            text = text + self.dropout(self.attend[name](query, values[name], bias[name]))
        return text + self.dropout(self.feed_forward(text))


class Attention(nn.Module):
    """Multi-head attention with separate projections, which export as plain matrix products.

    Args:
        dim: Width of queries and values.
        heads: Number of heads; must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, asking: Tensor, answering: Tensor, bias: Tensor) -> Tensor:
        """Let each asking token read the answering tokens.

        Args:
            asking: float (batch, query, dim).
            answering: float (batch, token, dim).
            bias: float (batch, 1, token), added to the scores: 0, or very negative for padding.

        Returns:
            float (batch, query, dim).
        """
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, asking), (self.key, answering), (self.value, answering))
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias.unsqueeze(1)
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(-2))
