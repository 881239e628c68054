"""Deep Impression's fusion: the concatenated means of the streams."""

from __future__ import annotations

import torch
from torch import Tensor

from mmperson.config import DeepImpressionConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.pooling import masked_mean, presence
from mmperson.models.tokens import Tokens


class DeepImpressionFusion(Fusion):
    r"""Concatenate the mean of each modality's tokens.

    .. math:: h = [p_1 \bar M_1; p_2 \bar M_2; p_3 \bar M_3]

    There are no parameters; a missing modality is a vector of zeros. The published network ends in
    one linear layer and :math:`(\tanh z + 1) / 2`: the ``per_trait`` head with ``hidden`` 0 and
    ``output`` tanh.

    Source: Güçlütürk et al. 2016, Deep Impression: audiovisual deep residual networks for
    multimodal apparent personality trait recognition, its architecture.
    """

    def __init__(self, config: DeepImpressionConfig, dims: dict[str, int], targets: int) -> None:
        super().__init__(dims, targets, sum(dims.values()))

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        means = [presence(present, name) * masked_mean(tokens[name]) for name in self.modalities]
        return Fused(self.expand(torch.cat(means, dim=-1)))
