"""Attention as one ONNX operator over (batch, token, dim), as CUDA runs it best; for gpu.py.

Queries, keys and values come from three linear layers and keep three axes. So nothing is transposed
around the operator, which splits the heads itself. The layers and what they compute are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from timm.layers.attention import Attention as ImageAttention
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertSelfAttention

from mmperson.models.layers.attention import Attention


def separate(module: nn.Module) -> nn.Module | None:
    """Return a copy with such attention, or None if there is none to replace.

    Args:
        module: Any network, in evaluation mode; it stays as it is.
    """
    copy = deepcopy(module)
    places = [
        (parent, name, child, make)
        for parent in copy.modules()
        for name, child in parent.named_children()
        for kind, make in _MAKERS.items()
        if type(child) is kind and _is_plain(child)
    ]
    for parent, name, child, make in places:
        setattr(parent, name, make(child))
    return copy if places else None


def _is_plain(attention: nn.Module) -> bool:
    """Return whether nothing happens to queries and keys, and nothing gates the output."""
    norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    plain = all(norm is None or isinstance(norm, nn.Identity) for norm in norms)
    return plain and getattr(attention, "gate", None) is None


class OneOperator(nn.Module):
    """Three linear layers and the operator.

    Args:
        query: Linear layer of what asks.
        key: Linear layer of what answers.
        value: Likewise.
        heads: Number of heads.
    """

    def __init__(self, query: nn.Linear, key: nn.Linear, value: nn.Linear, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = query, key, value
        self.heads = heads

    def forward(self, asking: Tensor, answering: Tensor, bias: Tensor | None) -> Tensor:
        """Attend: float (batch, query, dim) and (batch, token, dim) to (batch, query, dim).

        ``bias`` is added to the scores: float (batch, 1, query, token).
        """
        attended, *_ = torch.onnx.ops.attention(
            self.query(asking),
            self.key(answering),
            self.value(answering),
            bias,
            q_num_heads=self.heads,
            kv_num_heads=self.heads,
        )
        return attended


class _ImageAttention(nn.Module):
    """Stands in for timm's attention of a vision transformer."""

    def __init__(self, given: ImageAttention) -> None:
        super().__init__()
        dim = given.attn_dim
        parts = []
        for index in range(3):
            rows = slice(index * dim, (index + 1) * dim)
            part = nn.Linear(given.qkv.in_features, dim, bias=given.qkv.bias is not None)
            part.weight = nn.Parameter(given.qkv.weight[rows].detach().clone())
            if given.qkv.bias is not None:
                part.bias = nn.Parameter(given.qkv.bias[rows].detach().clone())
            parts.append(part)
        self.attend = OneOperator(*parts, heads=given.num_heads)
        self.norm, self.proj = given.norm, given.proj

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        return self.proj(self.norm(self.attend(x, x, attn_mask)))


class _BertAttention(nn.Module):
    """Stands in for BERT's self-attention."""

    def __init__(self, given: BertSelfAttention) -> None:
        super().__init__()
        heads = given.num_attention_heads
        self.attend = OneOperator(given.query, given.key, given.value, heads)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
    ) -> tuple[Tensor, None]:
        if attention_mask is not None:  # ONNX Runtime wants it as wide as there are queries
            attention_mask = attention_mask.expand(-1, -1, hidden_states.shape[1], -1)
        return self.attend(hidden_states, hidden_states, attention_mask), None


class _TokenAttention(nn.Module):
    """Stands in for the attention of fusions and of frames."""

    def __init__(self, given: Attention) -> None:
        super().__init__()
        self.attend = OneOperator(given.query, given.key, given.value, given.heads)
        self.out = given.out

    def forward(self, asking: Tensor, answering: Tensor, bias: Tensor) -> Tensor:
        spread = bias.unsqueeze(1).expand(-1, -1, asking.shape[1], -1)
        return self.out(self.attend(asking, answering, spread))


_MAKERS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    ImageAttention: _ImageAttention,
    BertSelfAttention: _BertAttention,
    Attention: _TokenAttention,
}
