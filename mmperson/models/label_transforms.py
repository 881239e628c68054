"""Label transforms: ratings to the space in which a network is trained, and back.

They help with skewed labels and outliers. ``inverse`` is part of the exported graph, so it has no
control flow. Every transform is increasing and invertible, also outside the range of the fitted
labels. Fitted values are buffers of fixed shape, which checkpoints contain; before ``fit`` every
transform is the identity.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import ndtri
from scipy.stats import yeojohnson, yeojohnson_llf
from torch import Tensor, nn

from mmperson.errors import DataError

_KNOTS = 33
_MIN_SLOPE = 1e-4
"""Share of a straight line that is mixed into a rank curve: two values that nearly tie would make
it vertical."""
_POWER_RANGE = (-2.0, 4.0)
"""Range of the Yeo-Johnson power, symmetric about 1, the identity. Beyond it the inverse is lost to
rounding in float32."""
_MIN_POWER = 1e-4
"""Replaces a power of 0, where the formula is a limit."""


class LabelTransform(nn.Module):
    """The identity, and the base class of label transforms.

    Args:
        targets: Number of targets.
    """

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.targets = targets

    def fit(self, targets: Tensor) -> None:
        """Fit the transform to training labels.

        Args:
            targets: float (row, target), NaN where a label is unknown.

        Raises:
            DataError: A target has no known label or an infinite one, or the shape is wrong.
        """
        # Rounded as the buffers are: float64 noise on a constant is not variance.
        table = targets.detach().cpu().float().double().numpy()
        if table.ndim != 2 or table.shape[1] != self.targets:
            raise DataError(
                f"Labels have the shape {table.shape}; (rows, {self.targets}) is needed."
            )
        for target in range(self.targets):
            labels = table[~np.isnan(table[:, target]), target]
            if not len(labels) or not np.isfinite(labels).all():
                raise DataError(
                    f"Target {target} has no known label, or an infinite one; a label transform "
                    "needs finite labels.",
                    hint="Check the corpus with 'mmperson data check'.",
                )
            self._fit_target(target, labels)

    def _fit_target(self, target: int, labels: npt.NDArray[np.float64]) -> None:
        """Set the buffers of one target from its known labels, float64 (row,)."""

    def forward(self, targets: Tensor) -> Tensor:
        """Transform labels. float (batch, target) to float (batch, target); NaN stays NaN."""
        return targets

    def inverse(self, transformed: Tensor) -> Tensor:
        """Return transformed scores as ratings. float (batch, target) to float (batch, target)."""
        return transformed


class RobustTransform(LabelTransform):
    """Distance from the median in interquartile ranges, insensitive to outliers."""

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
        """Transform labels, see ``LabelTransform.forward``."""
        return (targets - self.centre) / self.scale

    def inverse(self, transformed: Tensor) -> Tensor:
        """Return ratings, see ``LabelTransform.inverse``."""
        return self.centre + self.scale * transformed


class RankTransform(LabelTransform):
    """The normal score of a label's rank, linearly interpolated between 33 quantiles.

    Ties share their middle rank. The quantiles are those of evenly spaced normal scores, so the
    tails have knots too; beyond them the outer lines are extrapolated.

    Source: van der Waerden 1952, Order tests for the two-sample problem: scores Φ⁻¹ of ranks.
    """

    least: Tensor
    quantiles: Tensor
    scores: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__(targets)
        # Relative to the smallest label, so that an offset costs no precision.
        self.register_buffer("least", torch.zeros(targets))
        knots = torch.linspace(0.0, 1.0, _KNOTS)[:, None].repeat(1, targets)
        self.register_buffer("quantiles", knots)
        self.register_buffer("scores", knots.clone())

    def _fit_target(self, target: int, labels: npt.NDArray[np.float64]) -> None:
        least = labels.min()
        values, counts = np.unique(labels - least, return_counts=True)
        normal = ndtri((np.cumsum(counts) - counts / 2) / len(labels))
        if len(values) == 1:
            # A constant has no ranks: shift it to 0 and keep the unit.
            values, normal = values + np.arange(2.0), normal + np.arange(2.0)
        scores = np.linspace(normal[0], normal[-1], _KNOTS)
        quantiles = np.interp(scores, normal, values)
        quantiles += _MIN_SLOPE * (np.linspace(0.0, values[-1], _KNOTS) - quantiles)
        self.least[target] = least
        self.scores[:, target] = torch.from_numpy(scores)
        self.quantiles[:, target] = torch.from_numpy(quantiles)

    def forward(self, targets: Tensor) -> Tensor:
        """Transform labels, see ``LabelTransform.forward``."""
        return _interpolate(targets - self.least, self.quantiles, self.scores)

    def inverse(self, transformed: Tensor) -> Tensor:
        """Return ratings, see ``LabelTransform.inverse``."""
        return self.least + _interpolate(transformed, self.scores, self.quantiles)


class YeoJohnsonTransform(LabelTransform):
    r"""The Yeo-Johnson power transform of standardised labels, fitted by maximum likelihood.

    .. math:: y = \pm\frac{(1 + |x|)^p - 1}{p},\quad p = \lambda \text{ for } x \ge 0,
              \; p = 2 - \lambda \text{ for } x < 0

    with the sign of :math:`x`. Labels are standardised first, so the power does not depend on the
    unit of the ratings. Outside the range of the fitted labels the curve is extrapolated by a
    straight line: the power itself would be bounded.

    Source: Yeo and Johnson 2000, A new family of power transformations to improve normality or
    symmetry, eq. 2.1.
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
        """Transform labels, see ``LabelTransform.forward``."""
        x = (targets - self.centre) / self.scale
        inside = x.clamp(self.label_range[0], self.label_range[1])
        side, power = self._side(inside)
        growth = torch.log1p(side * inside)
        y = side * torch.expm1(power * growth) / power
        return y + (x - inside) * torch.exp((power - 1.0) * growth)

    def inverse(self, transformed: Tensor) -> Tensor:
        """Return ratings, see ``LabelTransform.inverse``."""
        inside = transformed.clamp(self.warped_range[0], self.warped_range[1])
        side, power = self._side(inside)
        # log1p(a) with its rounding error corrected, which matters where the power is small. ONNX
        # has no log1p, and on GPUs no atanh.
        a = power * side * inside
        grown = 1.0 + a
        growth = (torch.log(grown) + (a - (grown - 1.0)) / grown) / power
        x = side * torch.expm1(growth)
        x = x + (transformed - inside) * torch.exp((1.0 - power) * growth)
        return self.centre + self.scale * x

    def _side(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sign and power at each value; the sign of 0 is 1, so that its slope is not zero."""
        right = values >= 0
        power = torch.where(right, self.power, 2.0 - self.power)
        power = torch.where(power.abs() < _MIN_POWER, _MIN_POWER, power)
        return torch.where(right, 1.0, -1.0), power


LABEL_TRANSFORMS: Mapping[str, type[LabelTransform]] = {
    "none": LabelTransform,
    "robust": RobustTransform,
    "rank": RankTransform,
    "yeo_johnson": YeoJohnsonTransform,
}


def _likeliest_power(standard: npt.NDArray[np.float64]) -> float:
    return minimize_scalar(
        lambda power: -yeojohnson_llf(power, standard), bounds=_POWER_RANGE, method="bounded"
    ).x


def _interpolate(x: Tensor, knots: Tensor, heights: Tensor) -> Tensor:
    """Interpolate linearly between knots, float (knot, target); extrapolate the outer lines."""
    slopes = heights.diff(dim=0) / knots.diff(dim=0)
    line = (x[:, None] >= knots[1:-1]).sum(dim=1)
    return heights.gather(0, line) + slopes.gather(0, line) * (x - knots.gather(0, line))
