"""Layers that ignore the padding of sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics exclude padding; padding stays zero.

    Source: Ioffe and Szegedy 2015, Batch normalization, algorithm 1.

    Args:
        num_features: Number of channels.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Normalise.

        Args:
            x: float (batch, channel, time) or (batch, channel, time, mel).
            mask: float (batch, 1, time) or (batch, 1, time, 1), 1 where real.

        Returns:
            float, shaped as ``x``, zero where padded.
        """
        if not self.training:
            mean, variance = self.running_mean, self.running_var
            scaled = functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
            return scaled * mask
        axes = [0, *range(2, x.ndim)]
        real = mask.expand(-1, -1, *x.shape[2:])
        count = real.sum().clamp_min(1.0)
        mean = (x * real).sum(dim=axes, keepdim=True) / count
        variance = ((x - mean) * real).square().sum(dim=axes, keepdim=True) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1.0).clamp_min(1.0)
            self.running_mean.lerp_(mean.flatten().float(), self.momentum)
            self.running_var.lerp_(unbiased.flatten().float(), self.momentum)
        shape = (-1, *[1] * (x.ndim - 2))
        scale = self.weight.reshape(shape) * (variance + self.eps).rsqrt()
        return ((x - mean) * scale + self.bias.reshape(shape)) * mask


def pad_end(x: Tensor, multiple: int) -> Tensor:
    """Append zeros to axis 1 of x, (batch, time, …), until its length is a multiple."""
    short = -x.shape[1] % multiple
    return functional.pad(x, [0, 0] * (x.ndim - 2) + [0, short])


def mostly_real(mask: Tensor) -> Tensor:
    """Return which windows are real for more than half of their length; the first one always is.

    Args:
        mask: float (batch, window, time), 1 where real.

    Returns:
        float (batch, window).
    """
    real = (mask.mean(dim=2) > 0.5).to(mask.dtype)
    return torch.cat([torch.ones_like(real[:, :1]), real[:, 1:]], dim=1)
