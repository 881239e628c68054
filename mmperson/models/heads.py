"""Regression heads: one vector per target in, one score per target out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmperson.config import HeadsConfig


class _Head(nn.Module):
    """What all heads share: MLPs side by side, and what turns their output into scores."""

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
        """Take mean and deviation of each target from training labels.

        Args:
            targets: float (row, target), NaN where a label is unknown; each target has a known one.
        """
        known = ~targets.isnan()
        mean = targets.nanmean(dim=0)
        squares = torch.where(known, targets - mean, 0.0).square().sum(dim=0)
        self.base.copy_(mean)
        self.scale.copy_((squares / (known.sum(dim=0) - 1).clamp_min(1)).sqrt())

    def calibrate(self, scores: Tensor, targets: Tensor) -> None:
        """Put a straight line through each target's scores, by least squares on known labels.

        It raises R2 and narrows the scores, so that CCC falls.

        Args:
            scores: float (row, target), what this head gives rows that it has not learned from.
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
        """Add the layers of an MLP as weights (*copies, wide, narrow) and biases."""
        for wide, narrow in itertools.pairwise(widths):
            bound = 1.0 / math.sqrt(wide)
            self.weights.append(
                nn.Parameter(torch.empty(*copies, wide, narrow).uniform_(-bound, bound))
            )
            self.biases.append(nn.Parameter(torch.zeros(*copies, 1, narrow)))

    def _scores(self, z: Tensor) -> Tensor:
        """Turn what the regressors say, float (batch, target), into scores."""
        if self.output == "sigmoid":
            return z.sigmoid()
        if self.output == "tanh":
            return (z.tanh() + 1.0) / 2.0
        return self.base + self.scale * z


class EnsembleHead(_Head):
    """The mean of many small independent regressors.

    Each member is an MLP E → E/2 → 32 → 1 with ReLU; all members run as batched matrix products.
    The targets share the members, or each has its own. With ``output`` linear the mean counts in
    deviations of each target's training labels; ``sigmoid`` and ``tanh`` bound it to [0, 1].

    Source: "Traits Run Deep" (AVI Challenge 2025), ensemble regression head with 32 members.

    Args:
        config: Number of members, whether they are shared, and the output.
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
    """One small regressor for each target: dim → hidden → 1 with GELU, or linear.

    ``output`` as in ``EnsembleHead``.

    Args:
        config: Width of the hidden layer, 0 for none, and the output.
        dim: Width of a target's vector.
        targets: Number of targets.
    """

    def __init__(self, config: HeadsConfig, dim: int, targets: int) -> None:
        super().__init__(config, targets)
        self._add_layers((targets,), (dim, config.hidden, 1) if config.hidden else (dim, 1))

    def forward(self, fused: Tensor) -> Tensor:
        """Score the targets.

        Args:
            fused: float (batch, target, dim).

        Returns:
            float (batch, target), about [0, 1].
        """
        x = fused.transpose(0, 1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (functional.gelu(x) if index else x) @ weight + bias
        return self._scores(x.squeeze(-1).T)
