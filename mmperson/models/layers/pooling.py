"""Tokens of a modality to one vector; presence masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmperson.models.tokens import Tokens
from mmperson.schema import MODALITIES


class PooledVectors(nn.Module):
    r"""The layer-normalised mean of each modality's tokens, or a learned vector in its place.

    .. math:: x_m = p_m \, \mathrm{LN}(\bar M_m) + (1 - p_m) \, a_m

    with presence :math:`p_m` in {0, 1}.

    Args:
        dims: Token width by modality.
    """

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        self.norm = nn.ModuleDict(
            {name: nn.LayerNorm(dims[name]) for name in read_modalities(dims)}
        )
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(dims[name])) for name in read_modalities(dims)}
        )

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> dict[str, Tensor]:
        """Pool the tokens.

        Args:
            tokens: Tokens by modality.
            present: float (batch, 3), 1 where video, audio, text is present.

        Returns:
            float (batch, dim) by modality, in the order video, audio, text.
        """
        vectors = {}
        for name, norm in self.norm.items():
            is_present = presence(present, name)
            pooled = norm(masked_mean(tokens[name]))
            vectors[name] = is_present * pooled + (1.0 - is_present) * self.absent[name]
        return vectors


def masked_mean(tokens: Tokens) -> Tensor:
    """Return the mean of the real tokens, float (batch, dim); 0 where there is none."""
    mask = tokens.mask.unsqueeze(-1)
    return (tokens.values * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1.0)


def describe_text(text: Tokens) -> Tensor:
    """Summarise transcripts by their mean token and length.

    Args:
        text: Tokens, float (batch, token, dim), and their mask.

    Returns:
        float (batch, dim + 1): the mean token divided by the square root of its width, and the log
        of the number of tokens relative to a typical transcript of 50 tokens.
    """
    count = text.mask.sum(dim=1, keepdim=True)
    length = ((1.0 + count).log() - math.log(50.0)) / 0.4
    return torch.cat([masked_mean(text) / math.sqrt(text.values.shape[-1]), length], dim=-1)


def presence(present: Tensor, name: str) -> Tensor:
    """Return a modality's column of the presence mask, float (batch, 1)."""
    return present[:, MODALITIES.index(name)].unsqueeze(-1)


def read_modalities(dims: dict[str, int]) -> list[str]:
    """Return the modalities that have a width, in the order video, audio, text."""
    return [name for name in MODALITIES if name in dims]
