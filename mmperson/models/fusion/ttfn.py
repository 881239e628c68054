"""Text-centric trait fusion on token sequences: text asks; audio and video answer."""

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
        features: Width of a description, see ``describe_text``.
        config: Width and dropout.
        more: Width of what a subclass puts beside the description.
    """

    def __init__(self, features: int, config: TtfnConfig, more: int = 0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.body = nn.Sequential(
            nn.Linear(features + more, 2 * config.dim), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(2 * config.dim, config.dim),
        )  # fmt: skip

    def forward(self, described: Tensor) -> Tensor:
        """Summarise. float (batch, feature) to float (batch, dim)."""
        return self.body(self.dropout(described))


class TextCentricFusion(Fusion):
    r"""Text tokens query audio and video tokens; trait queries read the result.

    With text tokens T and tokens M of another modality, each block computes

    .. math:: T \leftarrow T + \sum_M \mathrm{MHA}_M(\mathrm{LN}(T), M, M), \quad
              T \leftarrow T + \mathrm{FFN}(\mathrm{LN}(T))

    and one learned query per trait then attends over T. A missing modality is arithmetic: with
    presence p in {0, 1} its tokens are p M + (1 - p) a for a learned "absent" token a, and its
    padding bias is multiplied by p. Any subset may be absent, text included.

    A summary of the transcript (mean token, length) joins the text tokens; it and the mean tokens
    of audio and video also reach the trait vectors directly.

    Source: after the Text-Centric Trait Fusion Network of "Traits Run Deep" (AVI Challenge 2025),
    done on token sequences instead of pooled vectors.

    Args:
        config: Width, heads, depth and dropout.
        dims: Token width of each modality that is read.
        targets: Number of targets.
        summary: Builds the summary of the transcript from the width of a description and config.
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
        self.answers = [name for name in self.modalities if name != "text"]
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dims[name], config.dim), nn.LayerNorm(config.dim))
             for name in self.modalities}
        )  # fmt: skip
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(config.dim)) for name in ("text", *self.answers)}
        )
        self.blocks = nn.ModuleList(_Block(config, self.answers) for _ in range(config.layers))
        self.summary = nn.ModuleDict()
        if "text" in dims:
            self.summary["text"] = summary(dims["text"] + 1, config)
        for name in self.answers:
            self.summary[name] = nn.Linear(dims[name], config.dim)
        self.trait_queries = nn.Parameter(0.02 * torch.randn(targets, config.dim))
        self.read = Attention(config.dim, config.heads)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        here = {name: presence(present, name).unsqueeze(-1) for name in self.modalities}
        values, bias = {}, {}
        for name in self.modalities:
            projected = self.project[name](tokens[name].values)
            values[name] = self._or_absent(projected, here[name], name)
            bias[name] = here[name] * (1.0 - tokens[name].mask.unsqueeze(1)) * MASKED
        fused = self.trait_queries.expand(present.shape[0], -1, -1)
        if "text" in tokens:
            whole = self.summary["text"](describe_text(tokens["text"])).unsqueeze(1)
            whole = self._or_absent(whole, here["text"], "text")
            text = torch.cat([whole, values["text"]], dim=1)
            # Absent text is the one token of its summary, however long the padding is.
            padding = (1.0 - here["text"] * tokens["text"].mask.unsqueeze(1)) * MASKED
            text_bias = torch.cat([torch.zeros_like(here["text"]), padding], dim=-1)
            fused = fused + whole
        else:
            text = self.absent["text"].expand(present.shape[0], 1, -1)
            text_bias = torch.zeros_like(text[..., :1])
        for block in self.blocks:
            text = block(text, values, bias)
        fused = fused + self.read(self.trait_queries.expand_as(fused), text, text_bias)
        for name in self.answers:
            mean = masked_mean(tokens[name]).unsqueeze(1)
            fused = fused + here[name] * self.summary[name](mean)
        return Fused(self.norm(fused))

    def _or_absent(self, values: Tensor, here: Tensor, name: str) -> Tensor:
        """Put the "absent" token in the place of what is not there; float (batch, token, dim)."""
        return here * values + (1.0 - here) * self.absent[name]


class _Block(nn.Module):
    """One round: every other modality answers the text tokens, then a feed-forward layer."""

    def __init__(self, config: TtfnConfig, answers: list[str]) -> None:
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
