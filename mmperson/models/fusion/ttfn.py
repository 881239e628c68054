"""Text-centric trait fusion on token sequences: text asks; audio and video answer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmperson.config import TtfnConfig
from mmperson.models.layers.kernel_memory import KernelMemory
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

    The mean text token, with what similar transcripts were rated, joins the text tokens; it and the
    mean audio token also reach the trait vectors directly.

    Source: after the Text-Centric Trait Fusion Network of "Traits Run Deep" (AVI Challenge 2025),
    done on token sequences instead of pooled vectors.

    Args:
        config: Width, heads, depth and dropout.
        dims: Token width of each modality that is read.
        targets: Number of targets.
    """

    def __init__(self, config: TtfnConfig, dims: dict[str, int], targets: int) -> None:
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
        self.summary = nn.ModuleDict()
        if "text" in dims:
            # Mean token, length and what similar transcripts were rated.
            self.memory = KernelMemory(dims["text"] + 1, len(TRAITS))
            self.summary["text"] = _Summary(dims["text"] + 1, len(TRAITS), config)
        for name in self.answers:
            self.summary[name] = nn.Linear(dims[name], config.dim)
        self.trait_queries = nn.Parameter(0.02 * torch.randn(targets, config.dim))
        self.read = Attention(config.dim, config.heads)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Tensor:
        """Fuse the modalities.

        Args:
            tokens: Tokens of each modality that is read.
            present: float (batch, 3), 1 where video, audio, text is present.

        Returns:
            float (batch, target, dim).
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
        text, fused = values["text"], self.trait_queries.expand(present.shape[0], -1, -1)
        if "text" in tokens:
            whole = self._summarise(tokens["text"], present)
            # Absent text is the one token of its summary, however long the padding is.
            here = present[:, MODALITIES.index("text")].reshape(-1, 1, 1)
            padding = (1.0 - here * tokens["text"].mask.unsqueeze(1)) * MASKED
            bias["text"] = torch.cat([torch.zeros_like(here), padding], dim=-1)
            text = torch.cat([whole, text], dim=1)
            fused = fused + whole
        for block in self.blocks:
            text = block(text, values, bias)
        fused = fused + self.read(self.trait_queries.expand_as(fused), text, bias["text"])
        for name in self.answers:
            here = present[:, MODALITIES.index(name)].reshape(-1, 1, 1)
            fused = fused + here * self.summary[name](tokens[name].values.mean(dim=1, keepdim=True))
        return self.norm(fused)

    def _summarise(self, text: Tokens, present: Tensor) -> Tensor:
        """One token for the whole transcript, or the absent token; float (batch, 1, dim)."""
        here = present[:, MODALITIES.index("text")].reshape(-1, 1, 1)
        described = describe_text(text)
        recalled = self.memory(described)
        summary = self.summary["text"](described, recalled).unsqueeze(1)
        return here * summary + (1.0 - here) * self.absent["text"]


def describe_text(text: Tokens) -> Tensor:
    """Describe whole transcripts: mean token, and how much was said.

    Args:
        text: Tokens, float (batch, token, dim), and their mask.

    Returns:
        float (batch, dim + 1): the mean token over the square root of its width, and the log of the
        number of tokens around that of a usual transcript, 50 tokens.
    """
    count = text.mask.sum(dim=1, keepdim=True)
    mean = (text.values * text.mask.unsqueeze(-1)).sum(dim=1) / count
    length = ((1.0 + count).log() - math.log(50.0)) / 0.4
    return torch.cat([mean / math.sqrt(text.values.shape[-1]), length], dim=-1)


class _Summary(nn.Module):
    """What a transcript is like, and what similar ones were rated, as one vector."""

    def __init__(self, features: int, traits: int, config: TtfnConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.body = nn.Sequential(
            nn.Linear(features + traits, 2 * config.dim), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(2 * config.dim, config.dim),
        )  # fmt: skip
        self.recall = nn.Linear(traits, config.dim)

    def forward(self, described: Tensor, recalled: Tensor) -> Tensor:
        mixed = self.body(torch.cat([self.dropout(described), recalled], dim=-1))
        return mixed + self.recall(recalled)


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
