"""A Gaussian process as teacher, for few and noisy labels.

Its kernel is a sum over clip-level features: acoustic descriptors at a wide and a narrow scale,
principal components of the mean token state, and the length of the transcript. Scales and variances
minimise the error on held-out clips and on held-out source videos. That needs no refitting: with
targets y, noise s and A = (K + s I)^-1, the error on a held-out block of rows b is

    y_b - f_b = (A_bb)^-1 (A y)_b

Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 2.25 and 5.10-5.12
(one row); the block form follows from the inverse of a partitioned matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmperson.config import TeacherConfig
from mmperson.models.layers.kernel_memory import KernelMemory, squared_distance

_RATE = 0.1  # Adam on log scales: steps of about ten per cent.
_STARTS = {
    "wide": ("audio", 0.17),
    "narrow": ("audio", 0.32),
    "text": ("text", 0.8),
    "words": ("words", 0.4),
}
"""Feature and first scale of each kernel; descriptors have unit spread, texts unit length."""


class SumKernel(nn.Module):
    """A sum of squared-exponential kernels, each on one part of the features.

    Each descriptor has a scale; the text components share one.

    Args:
        parts: Columns of each part of the features: ``audio``, ``text``, ``words``.
    """

    def __init__(self, parts: dict[str, slice]) -> None:
        super().__init__()
        self.columns = {name: parts[part] for name, (part, _) in _STARTS.items() if part in parts}
        self.width = max(part.stop for part in parts.values())
        self.scale = nn.ParameterDict()
        for name, columns in self.columns.items():
            part, start = _STARTS[name]
            size = columns.stop - columns.start if part == "audio" else 1
            self.scale[name] = _log(torch.full((size,), start))
        self.variance = nn.ParameterDict({name: _log(torch.tensor(0.6)) for name in self.columns})
        self.noise = _log(torch.tensor(1.2))
        self.offset = _log(torch.tensor(0.2))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Covariance of two sets of rows, float (row, feature) each; float (row of a, row of b)."""
        total = self.offset.exp()
        for name, columns in self.columns.items():
            scale = self.scale[name].exp()
            distance = squared_distance(a[:, columns] * scale, b[:, columns] * scale)
            total = total + self.variance[name].exp() * torch.exp(-distance)
        return total

    def precision(self, rows: Tensor) -> Tensor:
        """Return A, the inverse covariance of noisy rows, float (row, row)."""
        covariance = self(rows, rows)
        noise = self.noise.exp() * torch.eye(len(covariance))
        return torch.cholesky_inverse(torch.linalg.cholesky(covariance + noise))

    def remember(self, rows: Tensor, targets: Tensor) -> KernelMemory:
        """Return the posterior for rows, float (row, feature), and targets, float (row, trait)."""
        scales = torch.zeros(len(self.columns), self.width)
        for kernel, (name, columns) in enumerate(self.columns.items()):
            scales[kernel, columns] = self.scale[name].exp()
        variances = torch.stack([self.variance[name].exp() for name in self.columns])
        memory = KernelMemory(self.width, targets.shape[1])
        memory.fill(rows, self.precision(rows) @ targets, scales, variances, self.offset.exp())
        return memory


def fit_kernel(
    parts: dict[str, slice],
    rows: Tensor,
    targets: Tensor,
    sources: npt.NDArray[np.str_],
    config: TeacherConfig,
    seed: int,
) -> SumKernel:
    """Fit the hyper-parameters to the error on held-out clips and source videos.

    Args:
        parts: Columns of each part of the features.
        rows: float (row, feature), standardised.
        targets: float (row, trait), standardised.
        sources: str (row,), the source video of each row.
        config: Steps, draws and the share of unseen sources.
        seed: Seed of the draws.
    """
    kernel = SumKernel(parts)
    optimizer = torch.optim.Adam(kernel.parameters(), lr=_RATE, betas=(0.9, 0.95))
    random = np.random.default_rng(seed)
    names = np.unique(sources)
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = _RATE * 0.5 * (1 + np.cos(np.pi * step / config.steps))
        drawn = random.choice(names, size=min(config.sources, len(names)), replace=False)
        chosen = np.flatnonzero(np.isin(sources, drawn))
        precision = kernel.precision(rows[chosen])
        weights = precision @ targets[chosen]
        seen = (weights / precision.diagonal().unsqueeze(1)).square().mean()
        unseen = unseen_residuals(precision, weights, sources[chosen]).square().mean()
        error = (1 - config.unseen_weight) * seen + config.unseen_weight * unseen
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return kernel.requires_grad_(False)


def unseen_residuals(precision: Tensor, weights: Tensor, sources: npt.NDArray[np.str_]) -> Tensor:
    """Return the residual of each row with all rows of its source held out.

    Args:
        precision: A, float (row, row).
        weights: A y, float (row, trait).
        sources: str (row,), the source video of each row.

    Returns:
        float (row, trait), target minus score.
    """
    _, source, size = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(source, kind="stable")
    starts = np.cumsum(size) - size
    indices, residuals = [], []
    # Sources with equally many clips are solved as a batch, a hundred times faster.
    for clips in np.unique(size):
        rows = torch.from_numpy(order[starts[size == clips][:, None] + np.arange(clips)])
        blocks = precision[rows.unsqueeze(2), rows.unsqueeze(1)]
        residuals.append(torch.linalg.solve(blocks, weights[rows]).flatten(0, 1))
        indices.append(rows.flatten())
    return torch.cat(residuals)[torch.cat(indices).argsort()]


def _log(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.log())
