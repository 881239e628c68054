"""A kernel machine as a layer: the ratings of similar training rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class KernelMemory(nn.Module):
    r"""The posterior mean of a Gaussian process, as buffers of a network.

    .. math:: f(x) = \sum_i a_i \Big(c + \sum_k v_k
              \exp\big(-\lVert s_k \odot (x - x_i) \rVert^2\big)\Big)

    over training rows :math:`x_i`, with kernel scales :math:`s_k` and variances :math:`v_k`. It
    contains the training rows, a few megabytes; ``training.distillation`` fills it.

    Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 2.27.

    Args:
        features: Width of a row.
        traits: Number of traits.
    """

    rows: Tensor
    weights: Tensor
    scales: Tensor
    variances: Tensor
    offset: Tensor

    def __init__(self, features: int, traits: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(1, features))
        self.register_buffer("weights", torch.zeros(1, traits))
        self.register_buffer("scales", torch.zeros(1, features))
        self.register_buffer("variances", torch.zeros(1))
        self.register_buffer("offset", torch.zeros(()))

    def fill(
        self, rows: Tensor, weights: Tensor, scales: Tensor, variances: Tensor, offset: Tensor
    ) -> None:
        """Store a fitted process.

        Args:
            rows: float (row, feature).
            weights: float (row, trait).
            scales: float (kernel, feature), 0 for a feature that a kernel ignores.
            variances: float (kernel,).
            offset: float (), the constant of the kernel.
        """
        self.rows, self.weights, self.offset = rows, weights, offset
        self.scales, self.variances = scales, variances

    def forward(self, x: Tensor) -> Tensor:
        """Predict standardised ratings. float (batch, feature) to float (batch, trait)."""
        similarity = self.offset
        for scale, variance in zip(self.scales.unbind(), self.variances.unbind(), strict=True):
            distance = squared_distance(x * scale, self.rows * scale)
            similarity = similarity + variance * torch.exp(-distance)
        return similarity @ self.weights

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        # Only the checkpoint tells the number of rows.
        for name in ("rows", "weights", "scales", "variances"):
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *others)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distances of rows, float (row of a, row of b)."""
    lengths = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1)
    return (lengths - 2.0 * a @ b.T).clamp_min(0.0)
