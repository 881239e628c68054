"""What an encoder gives to a fusion: tokens and which of them are real."""

from __future__ import annotations

from typing import Final, NamedTuple

from torch import Tensor

MASKED: Final = -1e4
"""Attention bias of padding: finite, so that a fully masked row stays a number; it fits fp16."""


class Tokens(NamedTuple):
    """Tokens of one modality.

    Attributes:
        values: float (batch, token, dim).
        mask: float (batch, token), 1 for a real token, 0 for padding.
    """

    values: Tensor
    mask: Tensor
