"""Text-centric trait fusion on token sequences: text attends to audio and video."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmperson.config import TtfnConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.attention import Attention
from mmperson.models.layers.pooling import describe_text, masked_mean, presence
from mmperson.models.tokens import MASKED, Tokens


class TextSummary(nn.Module):
    """A whole transcript as one vector.

    Args:
        features: Width of ``describe_text``.
        config: Width and dropout.
        extra: Width of a subclass's additional input of ``body``.
    """

    def __init__(self, features: int, config: TtfnConfig, extra: int = 0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.body = nn.Sequential(
            nn.Linear(features + extra, 2 * config.dim), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(2 * config.dim, config.dim),
        )  # fmt: skip

    def forward(self, described: Tensor) -> Tensor:
        """Summarise. float (batch, feature) to float (batch, dim)."""
        return self.body(self.dropout(described))


class TextCentricFusion(Fusion):
    r"""Text tokens attend to audio and video tokens; trait queries attend to the result.

    With text tokens T and tokens M of another modality, each block computes

    .. math:: T \leftarrow T + \sum_M \mathrm{MHA}_M(\mathrm{LN}(T), M, M), \quad
              T \leftarrow T + \mathrm{FFN}(\mathrm{LN}(T))

    and one learned query per trait then attends to T. With presence p in {0, 1} the tokens of a
    modality are p M + (1 - p) a for a learned "absent" token a, and its padding bias is multiplied
    by p. Any subset may be absent, text included.

    A summary of the transcript (mean token, length) joins the text tokens; it and the mean tokens
    of audio and video also reach the trait vectors directly.

    Source: after the Text-Centric Trait Fusion Network of "Traits Run Deep" (AVI Challenge 2025),
    on token sequences instead of pooled vectors.

    Args:
        config: Width, heads, depth and dropout.
        dims: Token width by modality.
        targets: Number of targets.
        summary: Builds the transcript's summary from the width of ``describe_text`` and config.
    """

    def __init__(
        self,
        config: TtfnConfig,
        dims: dict[str, int],
        targets: int,
        *,
        summary: Callable[[int, TtfnConfig], nn.Module] = TextSummary,
    ) -> None:
        super().__init__(dims, targets, config.dim)
        self.others = [name for name in self.modalities if name != "text"]
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dims[name], config.dim), nn.LayerNorm(config.dim))
             for name in self.modalities}
        )  # fmt: skip
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(config.dim)) for name in ("text", *self.others)}
        )
        self.blocks = nn.ModuleList(_Block(config, self.others) for _ in range(config.layers))
        self.summary = nn.ModuleDict()
        if "text" in dims:
            self.summary["text"] = summary(dims["text"] + 1, config)
        for name in self.others:
            self.summary[name] = nn.Linear(dims[name], config.dim)
        self.trait_queries = nn.Parameter(0.02 * torch.randn(targets, config.dim))
        self.read = Attention(config.dim, config.heads)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        is_present = {name: presence(present, name).unsqueeze(-1) for name in self.modalities}
        values, bias = {}, {}
        for name in self.modalities:
            projected = self.project[name](tokens[name].values)
            values[name] = self._or_absent(projected, is_present[name], name)
            bias[name] = is_present[name] * (1.0 - tokens[name].mask.unsqueeze(1)) * MASKED
        fused = self.trait_queries.expand(present.shape[0], -1, -1)
        if "text" in tokens:
            summary = self.summary["text"](describe_text(tokens["text"])).unsqueeze(1)
            summary = self._or_absent(summary, is_present["text"], "text")
            text = torch.cat([summary, values["text"]], dim=1)
            # Of absent text only the summary is a token, however long the padding is.
            padding = (1.0 - is_present["text"] * tokens["text"].mask.unsqueeze(1)) * MASKED
            text_bias = torch.cat([torch.zeros_like(is_present["text"]), padding], dim=-1)
            fused = fused + summary
        else:
            text = self.absent["text"].expand(present.shape[0], 1, -1)
            text_bias = torch.zeros_like(text[..., :1])
        for block in self.blocks:
            text = block(text, values, bias)
        fused = fused + self.read(self.trait_queries.expand_as(fused), text, text_bias)
        for name in self.others:
            mean = masked_mean(tokens[name]).unsqueeze(1)
            fused = fused + is_present[name] * self.summary[name](mean)
        return Fused(self.norm(fused))

    def _or_absent(self, values: Tensor, is_present: Tensor, name: str) -> Tensor:
        """Replace an absent modality's tokens by the learned one; float (batch, token, dim)."""
        return is_present * values + (1.0 - is_present) * self.absent[name]


class _Block(nn.Module):
    """Attention from text to every other modality, then a feed-forward layer."""

    def __init__(self, config: TtfnConfig, others: list[str]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.attend = nn.ModuleDict({name: Attention(config.dim, config.heads) for name in others})
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(config.dim), nn.Linear(config.dim, 2 * config.dim), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(2 * config.dim, config.dim),
        )  # fmt: skip

    def forward(self, text: Tensor, values: dict[str, Tensor], bias: dict[str, Tensor]) -> Tensor:
        query = self.norm(text)
        for name, attend in self.attend.items():
            text = text + self.dropout(attend(query, values[name], bias[name]))
        return text + self.dropout(self.feed_forward(text))
