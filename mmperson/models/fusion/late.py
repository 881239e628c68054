"""Late fusion: a regressor per modality and a weighted average."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import LateConfig
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers.pooling import PooledVectors, presence
from mmperson.models.tokens import MASKED, Tokens


class LateFusion(Fusion):
    r"""One regressor per modality; their vectors are averaged with learned weights.

    .. math:: r_t = \sum_m w_{mt} v_{mt}, \quad v_{m\cdot} = \mathrm{MLP}_m(x_m), \quad
              w_{mt} = \frac{p_m e^{a_{mt}}}{\sum_k p_k e^{a_{kt}}}

    There is one weight per modality and target; they sum to 1 over the present modalities. With a
    linear ``per_trait`` head (``hidden`` 0, ``output`` linear) this is exactly late fusion of
    scores: :math:`u_t \cdot r_t + b_t = \sum_m w_{mt} (u_t \cdot v_{mt} + b_t)`. With nothing
    present the learned "absent" vectors are averaged.
    """

    def __init__(self, config: LateConfig, dims: dict[str, int], targets: int) -> None:
        super().__init__(dims, targets, config.dim)
        self.pool = PooledVectors(dims)
        self.branches = nn.ModuleDict(
            {name: nn.Sequential(
                nn.Linear(dims[name], config.dim), nn.GELU(), nn.Dropout(config.dropout),
                nn.Linear(config.dim, targets * config.dim),
                nn.Unflatten(-1, (targets, config.dim)),
            ) for name in self.modalities}
        )  # fmt: skip
        self.weights = nn.Parameter(torch.zeros(len(self.modalities), targets))

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``."""
        vectors = self.pool(tokens, present)
        votes = torch.stack([self.branches[name](vectors[name]) for name in vectors], dim=1)
        is_present = torch.stack([presence(present, name) for name in vectors], dim=1)
        weights = (self.weights + (1.0 - is_present) * MASKED).softmax(dim=1)
        return Fused((weights.unsqueeze(-1) * votes).sum(dim=1))
