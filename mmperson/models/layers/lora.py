"""Low-rank adaptation of attention: fine-tune a large network with a few small matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.errors import ConfigError

_TUNED = ("query", "value", "q_proj", "v_proj")


class LowRank(nn.Module):
    """A frozen linear layer with a low-rank update, W x + 2 B A x; B is zero at first.

    Source: Hu et al. 2022, LoRA, section 4.1, with alpha = 2 r.

    Args:
        base: The layer, which is frozen.
        rank: Rank r of the update.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(base.in_features, rank) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(rank, base.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer. float (…, in) to float (…, out)."""
        return self.base(x) + 2.0 * (x @ self.down @ self.up)


def add_low_rank(backbone: nn.Module, rank: int) -> None:
    """Add low-rank updates to the query and value projections of every layer, in place.

    Args:
        backbone: The network.
        rank: Rank of the updates.

    Raises:
        ConfigError: It has no such projections; some networks join them in one matrix.
    """
    projections = [
        (module, name, child)
        for module in backbone.modules()
        for name, child in module.named_children()
        if name in _TUNED and isinstance(child, nn.Linear)
    ]
    if not projections:
        raise ConfigError(
            f"text.lora_rank is {rank}; {type(backbone).__name__} has no linear layer "
            f"{', '.join(_TUNED[:-1])} or {_TUNED[-1]} to tune.",
            hint="Set it to 0, and train upper layers with text.trainable_layers.",
        )
    for module, name, child in projections:
        setattr(module, name, LowRank(child, rank))
