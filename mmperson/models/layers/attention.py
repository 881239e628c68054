"""Multi-head attention."""

from __future__ import annotations

import math

from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with separate projections, exported as plain matrix products.

    Args:
        dim: Width of queries, keys and values.
        heads: Number of heads; must divide ``dim``.
        out_dim: Width of the output; None for ``dim``.
    """

    def __init__(self, dim: int, heads: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, out_dim or dim)

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Attend from queries to keys, which are the values too.

        Args:
            queries: float (batch, query, dim).
            keys: float (batch, token, dim).
            bias: float (batch, 1, token), added to the scores: 0, or ``MASKED`` for padding.

        Returns:
            float (batch, query, out_dim).
        """
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, queries), (self.key, keys), (self.value, keys))
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias.unsqueeze(1)
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(-2))
