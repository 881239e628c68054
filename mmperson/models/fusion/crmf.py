"""CRMF-style fusion: experts in hyperbolic, spherical and flat space, mixed by a router."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmperson.config import CrmfConfig
from mmperson.models.fusion.concat import ConcatTrunk
from mmperson.models.fusion.fusion import Fused, Fusion
from mmperson.models.layers import manifold
from mmperson.models.tokens import Tokens

_MAX_NORM = 3.0
"""Longest tangent vector that is mapped to the ball; tanh(3) is .995 of its radius."""
_SOFTPLUS_INVERSE_OF_ONE = math.log(math.e - 1.0)


class ManifoldFusion(Fusion):
    r"""Three experts in spaces of different curvature, weighted by a router.

    With the trunk h of ``ConcatTrunk``, every expert computes

    .. math:: u_k = W'_k\, \mathrm{GELU}(\mathrm{LN}(W_k h))

    and maps it through its space to a tangent vector :math:`v_k`:

    .. math:: v_1 &= \log_0(\exp_0(M \log_0(\exp_0(u_1))) \oplus \exp_0(b)) \\
              v_2 &= \log_p(u_2 / \lVert u_2 \rVert) \\
              v_3 &= u_3

    in the Poincaré ball of a learned curvature, on the sphere around a learned pole p, and in flat
    space. The fused vector and, in training, the load-balancing loss are

    .. math:: z = \mathrm{LN}(\textstyle\sum_k \pi_k A_k v_k), \quad
              \pi = \mathrm{softmax}(R'\, \mathrm{GELU}(R h) / \tau), \quad
              \lambda \cdot 3 \textstyle\sum_k \bar\pi_k^2

    With ``geometry`` euclidean all three are flat and have equally many parameters, so the two
    settings differ only in curvature. The geometry is computed in float32, also under autocast. As
    published, each target then has an MLP z → 64 → 1: the ``per_trait`` head with ``hidden`` 64.

    Source: after Cross-Modal Regression with Manifold Fusion (RecruitView), whose code is not
    public; trunk, router width and expert MLPs are our choice.
    """

    def __init__(self, config: CrmfConfig, dims: dict[str, int], targets: int) -> None:
        super().__init__(dims, targets, config.dim)
        self.temperature, self.load_weight = config.temperature, config.load_weight
        self.trunk = ConcatTrunk(dims, config.dim, config.dropout)
        spaces: tuple[type[nn.Module], ...] = (_Affine, _Offset, nn.Identity)
        if config.geometry == "manifold":
            spaces = (_Hyperbolic, _Spherical, nn.Identity)
        self.experts = nn.ModuleList(_Expert(config, space) for space in spaces)
        self.router = nn.Sequential(
            nn.Linear(config.dim, config.expert_dim),
            nn.GELU(),
            nn.Linear(config.expert_dim, len(spaces)),
        )
        self.align = nn.ModuleList(
            nn.Linear(config.expert_dim, config.dim, bias=False) for _ in spaces
        )
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities, see ``Fusion.forward``; the auxiliary loss balances the load."""
        trunk = self.trunk(tokens, present)
        shares = (self.router(trunk).float() / self.temperature).softmax(dim=-1)
        aligned = [
            align(expert(trunk)) for align, expert in zip(self.align, self.experts, strict=True)
        ]
        fused = (shares.unsqueeze(-1) * torch.stack(aligned, dim=1)).sum(dim=1)
        vectors = self.expand(self.norm(fused))
        if not self.training:
            return Fused(vectors)
        load = len(self.experts) * shares.mean(dim=0).square().sum()
        return Fused(vectors, self.load_weight * load)


class _Expert(nn.Module):
    """One expert; float (batch, dim) to a tangent vector, float32 (batch, expert)."""

    def __init__(self, config: CrmfConfig, space: type[nn.Module]) -> None:
        super().__init__()
        dim, out = config.dim, config.expert_dim
        # No norm at the end: it would give all vectors one length, and the ball would be a sphere.
        # At the start they are about as long as its radius.
        self.body = nn.Sequential(
            nn.Linear(dim, dim), nn.LayerNorm(dim), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(dim, out),
        )  # fmt: skip
        nn.init.normal_(self.body[-1].weight, std=1.0 / math.sqrt(dim * out))
        self.space = space(out)

    def forward(self, trunk: Tensor) -> Tensor:
        tangent = self.body(trunk)
        with torch.autocast(tangent.device.type, enabled=False):
            return self.space(tangent.float())


class _Hyperbolic(nn.Module):
    """A Möbius layer in the ball, between exponential and logarithmic map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = manifold.MobiusLinear(dim)
        self.curvature = nn.Parameter(torch.tensor(_SOFTPLUS_INVERSE_OF_ONE))

    def forward(self, tangent: Tensor) -> Tensor:
        curvature = functional.softplus(self.curvature)
        point = manifold.exp0(manifold.clip_norm(tangent, _MAX_NORM), curvature)
        return manifold.log0(self.linear(point, curvature), curvature)


class _Spherical(nn.Module):
    """The logarithmic map of the direction on the unit sphere at a learned pole."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pole = nn.Parameter(torch.randn(dim))

    def forward(self, tangent: Tensor) -> Tensor:
        pole = self.pole / manifold.norm(self.pole)
        return manifold.sphere_log(pole, tangent / manifold.norm(tangent))


class _Affine(nn.Module):
    """The ball's expert without curvature; a scale replaces the curvature."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        nn.init.orthogonal_(self.linear.weight)
        self.scale = nn.Parameter(torch.tensor(_SOFTPLUS_INVERSE_OF_ONE))

    def forward(self, tangent: Tensor) -> Tensor:
        return functional.softplus(self.scale) * self.linear(tangent)


class _Offset(nn.Module):
    """The sphere's expert without curvature: the offset from a learned point."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pole = nn.Parameter(torch.randn(dim) / math.sqrt(dim))

    def forward(self, tangent: Tensor) -> Tensor:
        return tangent - self.pole
