"""Tokens and their padding mask: the output of an encoder."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

MASKED = -1e4
"""Attention bias of padding: finite, so that a fully masked row is not NaN; fits fp16."""


class Tokens(NamedTuple):
    """Tokens of one modality.

    Attributes:
        values: float (batch, token, dim).
        mask: float (batch, token), 1 for a real token, 0 for padding.
    """

    values: Tensor
    mask: Tensor


def average_tokens(tokens: Tokens, stride: int) -> Tokens:
    """Average every ``stride`` tokens into one, ignoring padding.

    Args:
        tokens: float (batch, token, dim), and their mask.
        stride: Tokens per average; 1 is the identity.

    Returns:
        float (batch, ceil(token / stride), dim); real where any of the averaged tokens is.
    """
    if stride == 1:
        return tokens
    mask = tokens.mask.unsqueeze(1)
    values = (tokens.values * tokens.mask.unsqueeze(-1)).transpose(1, 2)
    share = functional.avg_pool1d(mask, stride, ceil_mode=True, count_include_pad=False)
    mean = functional.avg_pool1d(values, stride, ceil_mode=True, count_include_pad=False)
    return Tokens((mean / share.clamp_min(1e-6)).transpose(1, 2), (share > 0).squeeze(1).float())
