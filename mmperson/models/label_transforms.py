"""Label transforms: the space in which a network is trained, and the way back to ratings.

Skewed or outlying labels are learned better on another scale. ``forward`` takes labels there and
``inverse`` takes scores back; the inverse is part of the exported graph, so it is made of
operations without control flow. Every transform is increasing and exact in both directions, also
beyond the labels that it was fitted to. What was fitted lies in buffers of fixed shape, so that
checkpoints carry it; before ``fit`` every transform changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import ndtri
from scipy.stats import yeojohnson, yeojohnson_llf
from torch import Tensor, nn

from mmperson.errors import DataError, UnknownComponent

_KNOTS: Final = 33

_LEAST_SLOPE: Final = 1e-4
"""Share of a straight line that is mixed into a rank curve: two values that nearly tie would make
it vertical."""

_POWERS: Final = (-2.0, 4.0)
"""Range of the Yeo-Johnson power, symmetric about 1, which changes nothing. Beyond it the inverse
is lost to rounding in float32."""

_LEAST_POWER: Final = 1e-4
"""Stands in for a power of 0, where the formula is a limit; differs from it by as little."""


class LabelTransform(nn.Module):
    """Labels to the space in which a network is trained, and back; this one changes nothing.

    Args:
        targets: Number of targets.
    """

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.targets = targets

    def fit(self, targets: Tensor) -> None:
        """Take over what training labels are like.

        Args:
            targets: float (row, target), NaN where a label is unknown.

        Raises:
            DataError: A target has no known label or an infinite one, or their number differs.
        """
        # Rounded as the buffers are: float64 noise on a constant is no spread.
        table = targets.detach().cpu().float().double().numpy()
        if table.ndim != 2 or table.shape[1] != self.targets:
            raise DataError(
                f"Labels have the shape {table.shape}; (rows, {self.targets}) is needed."
            )
        for target in range(self.targets):
            labels = table[~np.isnan(table[:, target]), target]
            if not len(labels) or not np.isfinite(labels).all():
                raise DataError(
                    f"Target {target} has no known label or an infinite one; finite labels are "
                    "needed to fit a label transform.",
                    hint="Check the corpus with 'data check'.",
                )
            self._fit_target(target, labels)

    def _fit_target(self, target: int, labels: npt.NDArray[np.float64]) -> None:
        """Fill the buffers of one target from its known labels, float64 (row,)."""

    def forward(self, targets: Tensor) -> Tensor:
        """Warp labels. float (batch, target) to float (batch, target); NaN stays NaN."""
        return targets

    def inverse(self, warped: Tensor) -> Tensor:
        """Take warped scores back. float (batch, target) to float (batch, target), in ratings."""
        return warped


class RobustTransform(LabelTransform):
    """Distance from the median in interquartile ranges: outliers do not set the scale.

    Args:
        targets: Number of targets.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__(targets)
        self.register_buffer("centre", torch.zeros(targets))
        self.register_buffer("scale", torch.ones(targets))

    def _fit_target(self, target: int, labels: npt.NDArray[np.float64]) -> None:
        low, median, high = np.quantile(labels, (0.25, 0.5, 0.75))
        self.centre[target] = median
        self.scale[target] = high - low or 1.0

    def forward(self, targets: Tensor) -> Tensor:
        """Warp labels. float (batch, target) to float (batch, target); NaN stays NaN."""
        return (targets - self.centre) / self.scale

    def inverse(self, warped: Tensor) -> Tensor:
        """Take warped scores back. float (batch, target) to float (batch, target), in ratings."""
        return self.centre + self.scale * warped


class RankTransform(LabelTransform):
    """The normal score of a label's rank, by straight lines between 33 quantiles.

    Ties share their middle rank. The quantiles are those of evenly spaced normal scores, so that
    the tails have knots too; beyond them the outer lines go on.

    Source: van der Waerden 1952, Order tests for the two-sample problem: scores Φ⁻¹ of ranks.

    Args:
        targets: Number of targets.
    """

    least: Tensor
    quantiles: Tensor
    scores: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__(targets)
        # The quantiles count from the least label, so that an offset costs no precision.
        self.register_buffer("least", torch.zeros(targets))
        knots = torch.linspace(0.0, 1.0, _KNOTS)[:, None].repeat(1, targets)
        self.register_buffer("quantiles", knots)
        self.register_buffer("scores", knots.clone())

    def _fit_target(self, target: int, labels: npt.NDArray[np.float64]) -> None:
        least = labels.min()
        values, counts = np.unique(labels - least, return_counts=True)
        normal = ndtri((np.cumsum(counts) - counts / 2) / len(labels))
        if len(values) == 1:
            # No ranks: the label itself becomes the score 0, and a unit stays a unit.
            values, normal = values + np.arange(2.0), normal + np.arange(2.0)
        scores = np.linspace(normal[0], normal[-1], _KNOTS)
        quantiles = np.interp(scores, normal, values)
        quantiles += _LEAST_SLOPE * (np.linspace(0.0, values[-1], _KNOTS) - quantiles)
        self.least[target] = least
        self.scores[:, target] = torch.from_numpy(scores)
        self.quantiles[:, target] = torch.from_numpy(quantiles)

    def forward(self, targets: Tensor) -> Tensor:
        """Warp labels. float (batch, target) to float (batch, target); NaN stays NaN."""
        return _along(targets - self.least, self.quantiles, self.scores)

    def inverse(self, warped: Tensor) -> Tensor:
        """Take warped scores back. float (batch, target) to float (batch, target), in ratings."""
        return self.least + _along(warped, self.scores, self.quantiles)


class YeoJohnsonTransform(LabelTransform):
    r"""A power that makes standardised labels as normal as it can, fitted by maximum likelihood.

    .. math:: y = \pm\frac{(1 + |x|)^p - 1}{p},\quad p = \lambda \text{ for } x \ge 0,
              \; p = 2 - \lambda \text{ for } x < 0

    with the sign of :math:`x`. Labels are standardised first, so that the power does not depend on
    the unit of the ratings. Beyond the labels of the fit the curve goes on as a straight line: the
    power alone would end at a finite score.

    Source: Yeo and Johnson 2000, A new family of power transformations to improve normality or
    symmetry, eq. 2.1.

    Args:
        targets: Number of targets.
    """

    centre: Tensor
    scale: Tensor
    power: Tensor
    label_range: Tensor
    warped_range: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__(targets)
        self.register_buffer("centre", torch.zeros(targets))
        self.register_buffer("scale", torch.ones(targets))
        self.register_buffer("power", torch.ones(targets))
        self.register_buffer("label_range", torch.zeros(2, targets))
        self.register_buffer("warped_range", torch.zeros(2, targets))

    def _fit_target(self, target: int, labels: npt.NDArray[np.float64]) -> None:
        varied = np.ptp(labels) > 0
        centre, scale = labels.mean(), labels.std() if varied else 1.0
        standard = (labels - centre) / scale
        power = _likeliest_power(standard) if varied else 1.0
        ends = np.array([standard.min(), standard.max()])
        self.centre[target], self.scale[target], self.power[target] = centre, scale, power
        self.label_range[:, target] = torch.from_numpy(ends)
        self.warped_range[:, target] = torch.from_numpy(yeojohnson(ends, power))

    def forward(self, targets: Tensor) -> Tensor:
        """Warp labels. float (batch, target) to float (batch, target); NaN stays NaN."""
        x = (targets - self.centre) / self.scale
        inside = x.clamp(self.label_range[0], self.label_range[1])
        side, power = self._side(inside)
        growth = torch.log1p(side * inside)
        y = side * torch.expm1(power * growth) / power
        return y + (x - inside) * torch.exp((power - 1.0) * growth)

    def inverse(self, warped: Tensor) -> Tensor:
        """Take warped scores back. float (batch, target) to float (batch, target), in ratings."""
        inside = warped.clamp(self.warped_range[0], self.warped_range[1])
        side, power = self._side(inside)
        # The logarithm of 1 + a, and what 1 + a lost of a to rounding: it matters where the power
        # is small. ONNX has no log1p, and on GPUs no atanh.
        a = power * side * inside
        grown = 1.0 + a
        growth = (torch.log(grown) + (a - (grown - 1.0)) / grown) / power
        x = side * torch.expm1(growth)
        x = x + (warped - inside) * torch.exp((1.0 - power) * growth)
        return self.centre + self.scale * x

    def _side(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sign and power at each value; the sign of 0 is 1, for the sake of its slope."""
        right = values >= 0
        power = torch.where(right, self.power, 2.0 - self.power)
        power = torch.where(power.abs() < _LEAST_POWER, _LEAST_POWER, power)
        return torch.where(right, 1.0, -1.0), power


LABEL_TRANSFORMS: Final[Mapping[str, type[LabelTransform]]] = {
    "none": LabelTransform,
    "robust": RobustTransform,
    "rank": RankTransform,
    "yeo_johnson": YeoJohnsonTransform,
}


def build_label_transform(name: str, targets: int) -> LabelTransform:
    """Return an unfitted label transform.

    Args:
        name: ``none``, ``robust``, ``rank`` or ``yeo_johnson``.
        targets: Number of targets.

    Raises:
        UnknownComponent: There is none of that name.
    """
    if name not in LABEL_TRANSFORMS:
        raise UnknownComponent("label transform", name, LABEL_TRANSFORMS)
    return LABEL_TRANSFORMS[name](targets)


def _likeliest_power(standard: npt.NDArray[np.float64]) -> float:
    return minimize_scalar(
        lambda power: -yeojohnson_llf(power, standard), bounds=_POWERS, method="bounded"
    ).x


def _along(x: Tensor, knots: Tensor, heights: Tensor) -> Tensor:
    """Follow straight lines through knots.

    Args:
        x: float (batch, target).
        knots: float (knot, target), increasing.
        heights: float (knot, target), the curve at the knots, increasing.

    Returns:
        float (batch, target); beyond the knots the outer lines go on.
    """
    slopes = heights.diff(dim=0) / knots.diff(dim=0)
    line = (x[:, None] >= knots[1:-1]).sum(dim=1)
    return heights.gather(0, line) + slopes.gather(0, line) * (x - knots.gather(0, line))
