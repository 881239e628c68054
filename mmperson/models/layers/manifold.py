r"""Hyperbolic and spherical geometry: exponential and logarithmic maps.

The hyperbolic space is the Poincaré ball of curvature :math:`-c`, whose points have norms below
:math:`1/\sqrt c`. Half precision loses distances near its boundary: give these functions float32 or
float64. All norms are clamped away from zero, so that gradients stay finite.

Source: Ganea, Bécigneul and Hofmann 2018, Hyperbolic neural networks, sections 2 and 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_EDGE = 1e-5
"""Margin at the ball's boundary, as a share of its radius."""
_POLES = 1e-6
"""Margin of a cosine at 1 and -1, where the gradient of the angle is infinite."""
_MIN_NORM = 1e-6


def exp0(tangent: Tensor, curvature: Tensor) -> Tensor:
    r"""Map tangent vectors at the origin to points of the ball.

    .. math:: \exp_0(u) = \tanh(\sqrt c \lVert u \rVert) \frac{u}{\sqrt c \lVert u \rVert}

    Args:
        tangent: float (batch, dim).
        curvature: float (), c above 0.

    Returns:
        float (batch, dim), with norms of at most (1 - 1e-5) / √c.
    """
    reach = curvature.sqrt() * norm(tangent)
    return keep_inside(reach.tanh() / reach * tangent, curvature)


def log0(point: Tensor, curvature: Tensor) -> Tensor:
    r"""Map points of the ball to tangent vectors at the origin; the inverse of ``exp0``.

    .. math:: \log_0(x) = \mathrm{artanh}(\sqrt c \lVert x \rVert)
              \frac{x}{\sqrt c \lVert x \rVert}

    Args:
        point: float (batch, dim), inside the ball.
        curvature: float (), c above 0.

    Returns:
        float (batch, dim).
    """
    return _artanh_ratio(curvature.sqrt() * norm(point)) * point


def mobius_add(x: Tensor, y: Tensor, curvature: Tensor) -> Tensor:
    r"""Add points of the ball by Möbius addition.

    .. math:: x \oplus y = \frac{(1 + 2c\langle x, y\rangle + c\lVert y\rVert^2)\,x
              + (1 - c\lVert x\rVert^2)\,y}
              {1 + 2c\langle x, y\rangle + c^2\lVert x\rVert^2\lVert y\rVert^2}

    Args:
        x: float (batch, dim), inside the ball.
        y: float (batch, dim) or (dim,), inside the ball.
        curvature: float (), c above 0.

    Returns:
        float (batch, dim), with norms of at most (1 - 1e-5) / √c.
    """
    both = 2.0 * curvature * (x * y).sum(dim=-1, keepdim=True)
    xx = curvature * x.square().sum(dim=-1, keepdim=True)
    yy = curvature * y.square().sum(dim=-1, keepdim=True)
    # Inside the ball the divisor is larger; at the boundary rounding could make it zero.
    divisor = (1.0 + both + xx * yy).clamp_min(_EDGE**2)
    return keep_inside(((1.0 + both + yy) * x + (1.0 - xx) * y) / divisor, curvature)


def keep_inside(point: Tensor, curvature: Tensor) -> Tensor:
    """Project points, float (batch, dim), that rounding moved out of the ball back into it."""
    return clip_norm(point, (1.0 - _EDGE) / curvature.sqrt())


def clip_norm(vector: Tensor, largest: Tensor | float) -> Tensor:
    """Clip vectors, float (batch, dim), to a norm of at most ``largest``."""
    return vector * (largest / norm(vector)).clamp(max=1.0)


def sphere_log(pole: Tensor, direction: Tensor) -> Tensor:
    r"""Map points of the unit sphere to tangent vectors at a pole.

    .. math:: \log_p(s) = \frac{\theta}{\sin\theta}(s - \cos\theta\, p), \quad
              \theta = \arccos\langle p, s\rangle

    Args:
        pole: float (dim,), of norm 1.
        direction: float (batch, dim), of norm 1.

    Returns:
        float (batch, dim), orthogonal to the pole, with norms of at most π.
    """
    cosine = (direction * pole).sum(dim=-1, keepdim=True).clamp(-1.0 + _POLES, 1.0 - _POLES)
    sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt()
    return cosine.arccos() / sine * (direction - cosine * pole)


def norm(vector: Tensor) -> Tensor:
    """Return norms, float (batch, 1), of at least 1e-6."""
    return vector.square().sum(dim=-1, keepdim=True).clamp_min(_MIN_NORM**2).sqrt()


class MobiusLinear(nn.Module):
    r"""A linear layer between points of the ball.

    .. math:: y = \exp_0(M \log_0(x)) \oplus \exp_0(b)

    Without the bias, a chain of such layers between ``exp0`` and ``log0`` would be a linear map,
    since the inner maps would cancel out.

    Args:
        dim: Width of the points.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(nn.init.orthogonal_(torch.empty(dim, dim)))
        # As long as a tangent vector, so that the layer is nonlinear from the first step on.
        self.bias = nn.Parameter(torch.randn(dim) / math.sqrt(dim))

    def forward(self, point: Tensor, curvature: Tensor) -> Tensor:
        """Map points, float (batch, dim), inside the ball of curvature -c, to points in it."""
        moved = exp0(functional.linear(log0(point, curvature), self.matrix), curvature)
        return mobius_add(moved, exp0(self.bias, curvature), curvature)


def _artanh_ratio(z: Tensor) -> Tensor:
    """artanh(z) / z for z in (0, 1); near 0 its series, where the logarithm loses precision."""
    # Not ``atanh``, which ONNX Runtime has for the CPU only.
    square = z.square()
    near = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0)))
    far = 0.5 * ((1.0 + z) / (1.0 - z)).log() / z
    return torch.where(z < 0.05, near, far)
