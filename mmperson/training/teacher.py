"""A Gaussian process as teacher: honest scores for the training clips, in closed form.

A few thousand noisy labels are better smoothed before a network learns from them. The teacher's
kernel is a sum over clip-level features: acoustic descriptors at a wide and at a narrow scale,
mean-pooled token states, and the length of the transcript. For training rows X with targets y,
noise s and A = (K + s I)^-1, what the process says about a block of rows b (all clips of one source
video) when it has never seen them needs no refitting:

    f_b = y_b - (A_bb)^-1 (A y)_b

The hyper-parameters minimise the squared error of exactly these scores, by gradient descent.

Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 5.10-5.12 (one
row); the block form follows from the same inverse of a partitioned matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmperson.config import TeacherConfig

Features = Mapping[str, Tensor]
"""Clip-level features by name, float (row, feature): audio, text, words; those that are at hand."""

_RATE = 0.1  # Adam on log scales: a step of about ten per cent.


class SumKernel(nn.Module):
    """A sum of squared-exponential kernels over the features at hand.

    Args:
        audio_features: Number of acoustic descriptors; 0 leaves audio out.
        text: Whether mean-pooled token states and the transcript's length are read.
    """

    def __init__(self, audio_features: int, *, text: bool) -> None:
        super().__init__()
        self.scales = nn.ParameterDict()
        if audio_features:
            self.scales["wide"] = _log(torch.full((audio_features,), 0.03).sqrt())
            self.scales["narrow"] = _log(torch.full((audio_features,), 0.10).sqrt())
        if text:
            self.scales["text"] = _log(torch.tensor([0.7]))
            self.scales["words"] = _log(torch.tensor([0.4]))
        self.variances = nn.ParameterDict({name: _log(torch.tensor(0.6)) for name in self.scales})
        self.noise = _log(torch.tensor(1.2))
        self.offset = _log(torch.tensor(0.2))

    def forward(self, a: Features, b: Features) -> Tensor:
        """Return the covariance of two sets of rows, float (row of a, row of b)."""
        total = self.offset.exp()
        for name, log_scale in self.scales.items():
            feature = "audio" if name in ("wide", "narrow") else name
            scale = log_scale.exp()
            distance = _squared_distance(a[feature] * scale, b[feature] * scale)
            total = total + self.variances[name].exp() * torch.exp(-distance)
        return total

    def precision(self, rows: Features) -> Tensor:
        """Return A, the inverse covariance of noisy rows, float (row, row)."""
        covariance = self(rows, rows)
        noise = self.noise.exp() * torch.eye(len(covariance))
        return torch.linalg.inv(covariance + noise)


def fit_kernel(
    features: Features,
    targets: Tensor,
    sources: npt.NDArray[np.str_],
    config: TeacherConfig,
    seed: int,
) -> SumKernel:
    """Choose the hyper-parameters by the error on clips and source videos that were left out.

    Args:
        features: Standardised features of the training rows.
        targets: float (row, trait), standardised.
        sources: str (row,), the source video of each row.
        config: Steps, draws and the share of unseen sources.
        seed: Seed of the draws.
    """
    audio = features["audio"].shape[1] if "audio" in features else 0
    kernel = SumKernel(audio, text="text" in features)
    optimizer = torch.optim.Adam(kernel.parameters(), lr=_RATE, betas=(0.9, 0.95))
    random = np.random.default_rng(seed)
    names = np.unique(sources)
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = _RATE * 0.5 * (1 + np.cos(np.pi * step / config.steps))
        drawn = random.choice(names, size=min(config.sources, len(names)), replace=False)
        rows = np.flatnonzero(np.isin(sources, drawn))
        part = {name: values[rows] for name, values in features.items()}
        precision = kernel.precision(part)
        weights = precision @ targets[rows]
        seen = (weights / precision.diagonal().unsqueeze(1)).square().mean()
        unseen = _residuals(precision, weights, sources[rows]).square().mean()
        error = (1 - config.unseen_weight) * seen + config.unseen_weight * unseen
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return kernel.requires_grad_(False)


def unseen_scores(
    kernel: SumKernel, features: Features, targets: Tensor, sources: npt.NDArray[np.str_]
) -> Tensor:
    """Score each training row as if no clip of its source video had been seen.

    Returns:
        float (row, trait), standardised like the targets.
    """
    precision = kernel.precision(features)
    return targets - _residuals(precision, precision @ targets, sources)


def _residuals(precision: Tensor, weights: Tensor, sources: npt.NDArray[np.str_]) -> Tensor:
    """Return y_b - f_b for the rows b of every source, float (row, trait)."""
    _, source, size = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(source, kind="stable")
    starts = np.cumsum(size) - size
    found, solved = [], []
    # Sources of equally many clips are solved together; one by one is a hundred times slower.
    for clips in np.unique(size):
        rows = torch.from_numpy(order[starts[size == clips][:, None] + np.arange(clips)])
        blocks = precision[rows.unsqueeze(2), rows.unsqueeze(1)]
        solved.append(torch.linalg.solve(blocks, weights[rows]).flatten(0, 1))
        found.append(rows.flatten())
    return torch.cat(solved)[torch.cat(found).argsort()]


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    # As a matrix product; torch.cdist takes several times as long backwards.
    lengths = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1)
    return (lengths - 2.0 * a @ b.T).clamp_min(0.0)


def _log(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.log())
