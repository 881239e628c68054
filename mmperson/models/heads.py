"""Regression heads: one vector per target to one score per target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmperson.config import HeadsConfig


class _Head(nn.Module):
    """Base class: batched MLPs and the output scale."""

    base: Tensor
    scale: Tensor

    def __init__(self, config: HeadsConfig, targets: int) -> None:
        super().__init__()
        self.output = config.output
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.register_buffer("base", torch.full((targets,), 0.5))
        self.register_buffer("scale", torch.full((targets,), 0.15))

    def fit_scale(self, targets: Tensor) -> None:
        """Set the output scale to the mean and standard deviation of each target.

        Args:
            targets: float (row, target), NaN where a label is unknown; at least one is known per
                target.
        """
        known = ~targets.isnan()
        mean = targets.nanmean(dim=0)
        squares = torch.where(known, targets - mean, 0.0).square().sum(dim=0)
        self.base.copy_(mean)
        self.scale.copy_((squares / (known.sum(dim=0) - 1).clamp_min(1)).sqrt())

    def calibrate(self, scores: Tensor, targets: Tensor) -> None:
        """Calibrate each target by linear regression of labels on scores.

        This raises R2 and narrows the scores, so CCC falls.

        Args:
            scores: float (row, target), this head's scores of held-out rows.
            targets: float (row, target), NaN where a label is unknown.

        Source:
            The released trait-query networks for First Impressions calibrate each trait like this.
        """
        for index in range(len(self.base)):
            known = scores[:, index].isfinite() & targets[:, index].isfinite()
            x, y = scores[known, index], targets[known, index]
            if len(x) < 2 or x.var() == 0:
                continue
            slope = ((x - x.mean()) * (y - y.mean())).mean() / x.var(correction=0)
            self.base[index] = y.mean() + slope * (self.base[index] - x.mean())
            self.scale[index] *= slope

    def _add_layers(self, copies: Sequence[int], widths: Sequence[int]) -> None:
        """Add the layers of an MLP as weights (*copies, in, out) and biases."""
        for fan_in, fan_out in itertools.pairwise(widths):
            bound = 1.0 / math.sqrt(fan_in)
            weight = torch.empty(*copies, fan_in, fan_out).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(*copies, 1, fan_out)))

    def _scores(self, z: Tensor) -> Tensor:
        """Apply the output function to the MLPs' output, float (batch, target)."""
        if self.output == "sigmoid":
            return z.sigmoid()
        if self.output == "tanh":
            return (z.tanh() + 1.0) / 2.0
        return self.base + self.scale * z


class EnsembleHead(_Head):
    """The mean of many small independent regressors.

    Each member is an MLP E → E/2 → 32 → 1 with ReLU; all members run as batched matrix products.
    Targets share the members, or each has its own. With ``output`` linear the mean is in standard
    deviations of the target's training labels; ``sigmoid`` and ``tanh`` bound it to [0, 1].

    Source: "Traits Run Deep" (AVI Challenge 2025), ensemble regression head with 32 members.

    Args:
        config: Number of members, whether targets share them, and the output function.
        dim: Width E of a target's vector.
        targets: Number of targets.
    """

    def __init__(self, config: HeadsConfig, dim: int, targets: int) -> None:
        super().__init__(config, targets)
        self.shared = config.shared
        copies = (config.members,) if config.shared else (targets, config.members)
        self._add_layers(copies, (dim, dim // 2, 32, 1))

    def forward(self, fused: Tensor) -> Tensor:
        """Score the targets.

        Args:
            fused: float (batch, target, dim).

        Returns:
            float (batch, target), about [0, 1].
        """
        batch, targets, dim = fused.shape
        if self.shared:
            x = fused.reshape(1, batch * targets, dim)
        else:
            x = fused.transpose(0, 1).unsqueeze(1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (torch.relu(x) if index else x) @ weight + bias
        mean = x.mean(dim=-3)
        return self._scores(mean.reshape(batch, targets) if self.shared else mean.squeeze(-1).T)


class PerTraitHead(_Head):
    """One small regressor per target: dim → hidden → 1 with GELU, or linear.

    Args:
        config: Width of the hidden layer, 0 for none; ``output`` as in ``EnsembleHead``.
        dim: Width of a target's vector.
        targets: Number of targets.
    """

    def __init__(self, config: HeadsConfig, dim: int, targets: int) -> None:
        super().__init__(config, targets)
        self._add_layers((targets,), (dim, config.hidden, 1) if config.hidden else (dim, 1))

    def forward(self, fused: Tensor) -> Tensor:
        """Score the targets, see ``EnsembleHead.forward``."""
        x = fused.transpose(0, 1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (functional.gelu(x) if index else x) @ weight + bias
        return self._scores(x.squeeze(-1).T)
