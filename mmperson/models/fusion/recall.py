"""The memory of ``ttfn``, which a teacher fills."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import TtfnConfig
from mmperson.models.fusion.ttfn import TextSummary
from mmperson.models.layers.kernel_memory import KernelMemory
from mmperson.traits import TRAITS


class RecallingSummary(TextSummary):
    """A transcript's summary with the ratings of similar training transcripts.

    Networks have it where the recipe has a ``teacher``; ``training.distillation`` fills the memory.

    Args:
        features: Width of ``describe_text``.
        config: Width and dropout.
    """

    def __init__(self, features: int, config: TtfnConfig) -> None:
        super().__init__(features, config, extra=len(TRAITS))
        self.memory = KernelMemory(features, len(TRAITS))
        self.recall = nn.Linear(len(TRAITS), config.dim)

    def forward(self, described: Tensor) -> Tensor:
        """Summarise. float (batch, feature) to float (batch, dim)."""
        recalled = self.memory(described)
        mixed = self.body(torch.cat([self.dropout(described), recalled], dim=-1))
        return mixed + self.recall(recalled)
