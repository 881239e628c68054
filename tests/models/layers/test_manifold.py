"""Geometry: inverses, identities, float64 references; and the fusion that is made of it."""

import math

import numpy as np
import pytest
import torch

from mmperson.config import CrmfConfig
from mmperson.models.fusion.crmf import ManifoldFusion
from mmperson.models.layers.manifold import (
    MobiusLinear,
    clip_norm,
    exp0,
    keep_inside,
    log0,
    mobius_add,
    norm,
    sphere_log,
)
from mmperson.models.tokens import Tokens

CURVATURES = (0.2, 1.0, 3.0)
GEOMETRIES = ("manifold", "euclidean")


def draw(rows=64, dim=8, length=1.0, seed=0, dtype=torch.float32):
    """Vectors of about one length, float (row, dim)."""
    random = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, dim, generator=random, dtype=torch.float64)
    return (length * vectors / math.sqrt(dim)).to(dtype)


@pytest.fixture(params=CURVATURES)
def curvature(request):
    return torch.tensor(request.param)


@pytest.fixture
def points(curvature):
    """Three sets of points that are well inside the ball, float64 (row, dim)."""
    return [exp0(draw(seed=seed, length=0.5, dtype=torch.float64), curvature) for seed in range(3)]


@pytest.mark.parametrize("length", [0.0, 1e-5, 0.01, 0.1, 1.0, 2.0])
def test_log0_undoes_exp0(curvature, length):
    tangent = draw(length=length)
    back = log0(exp0(tangent, curvature), curvature)
    # Near the edge of the ball a step of float32 is a long way.
    torch.testing.assert_close(back, tangent, rtol=2e-3 if length > 1 else 1e-4, atol=1e-9)


@pytest.mark.parametrize("length", [1e-4, 0.03, 0.05, 0.06, 0.5, 0.99])
def test_both_maps_say_what_float64_says(curvature, length):
    vectors = draw(dim=3, seed=1).double()
    vectors = length * vectors / vectors.norm(dim=-1, keepdim=True) / curvature.double().sqrt()
    x, root = vectors.numpy(), math.sqrt(curvature)
    reach = root * np.linalg.norm(x, axis=-1, keepdims=True)
    for ours, reference in ((exp0, np.tanh), (log0, np.arctanh)):
        found = ours(vectors.float(), curvature)
        expected = reference(reach) / reach * x
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-8)


def test_mobius_addition_says_what_float64_says(curvature):
    x, y = (exp0(draw(seed=seed), curvature) for seed in (1, 2))
    found = mobius_add(x, y, curvature).numpy()
    c = float(curvature)
    for row, (a, b) in enumerate(zip(x.double().numpy(), y.double().numpy(), strict=True)):
        both, aa, bb = 2 * c * (a @ b), c * (a @ a), c * (b @ b)
        expected = ((1 + both + bb) * a + (1 - aa) * b) / (1 + both + aa * bb)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


def test_on_a_line_mobius_addition_adds_distances(curvature):
    root = curvature.sqrt()
    x, y = (torch.tensor([[length, 0.0]]) / root for length in (0.3, 0.5))
    expected = torch.tanh(torch.tensor(0.3).atanh() + torch.tensor(0.5).atanh()) / root
    torch.testing.assert_close(mobius_add(x, y, curvature), torch.tensor([[expected, 0.0]]))


def test_mobius_addition_has_its_identities(curvature, points):
    x, y, _ = points
    zero = torch.zeros_like(x)
    torch.testing.assert_close(mobius_add(x, zero, curvature), x)
    torch.testing.assert_close(mobius_add(zero, x, curvature), x)
    torch.testing.assert_close(mobius_add(-x, x, curvature), zero)
    # Left cancellation; addition is neither commutative nor associative.
    torch.testing.assert_close(mobius_add(-x, mobius_add(x, y, curvature), curvature), y)
    assert (mobius_add(x, y, curvature) - mobius_add(y, x, curvature)).abs().max() > 1e-3


def test_addition_leaves_distances_as_they_are(curvature, points):
    x, y, moved = points

    def distance(a, b):
        return norm(log0(mobius_add(-a, b, curvature), curvature))

    after = distance(mobius_add(moved, x, curvature), mobius_add(moved, y, curvature))
    torch.testing.assert_close(after, distance(x, y))


def test_without_curvature_the_ball_is_flat():
    flat = torch.tensor(1e-10, dtype=torch.float64)
    x, y = (draw(seed=seed, dtype=torch.float64) for seed in (1, 2))
    torch.testing.assert_close(exp0(x, flat), x)
    torch.testing.assert_close(mobius_add(x, y, flat), x + y)


@pytest.mark.parametrize("length", [0.0, 1.0, 1e3, 1e8])
def test_points_stay_inside_and_gradients_stay_finite(curvature, length):
    tangent = draw(length=length).requires_grad_()
    x = exp0(tangent, curvature)
    for point in (x, mobius_add(x, x, curvature), mobius_add(x, -x, curvature)):
        assert (curvature.sqrt() * norm(point)).max() <= 1 - 5e-6
        assert log0(point, curvature).isfinite().all()
    log0(mobius_add(x, x.flip(0), curvature), curvature).square().sum().backward()
    assert tangent.grad.isfinite().all()


def test_clipping_shortens_only_what_is_too_long():
    clipped = clip_norm(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]), 1.0)
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


def test_the_edge_is_kept_free():
    kept = keep_inside(torch.tensor([[5.0, 0.0]]), torch.tensor(4.0))
    torch.testing.assert_close(kept, torch.tensor([[0.499995, 0.0]]), rtol=1e-6, atol=0)


def test_a_mobius_layer_without_bias_would_be_linear():
    torch.manual_seed(0)
    layer, one = MobiusLinear(4), torch.tensor(1.0)
    x, y = draw(dim=4, length=0.3), draw(dim=4, length=0.3, seed=1)

    def chain(tangent):
        return log0(layer(exp0(tangent, one), one), one)

    def bend():
        return (chain(x + y) - chain(x) - chain(y) + chain(torch.zeros_like(x))).abs().max()

    assert bend() > 0.01
    with torch.no_grad():
        layer.bias.zero_()
    torch.testing.assert_close(chain(x), x @ layer.matrix.T)
    assert bend() < 1e-5


def test_sphere_log_points_along_the_great_circle():
    pole = torch.tensor([0.0, 0.0, 1.0])
    angles = torch.tensor([0.0, 1e-3, 0.5, math.pi / 2, 3.0])
    directions = torch.stack([angles.sin(), torch.zeros(5), angles.cos()], dim=-1)
    expected = torch.stack([angles, torch.zeros(5), torch.zeros(5)], dim=-1)
    torch.testing.assert_close(sphere_log(pole, directions), expected, rtol=1e-4, atol=2e-6)


def test_sphere_log_says_what_float64_says():
    pole, *directions = (v / v.norm() for v in draw(rows=33, dim=5, dtype=torch.float64))
    directions = torch.stack(directions)
    found = sphere_log(pole.float(), directions.float()).double()
    angle = torch.arccos(directions @ pole)[:, None]
    expected = angle / angle.sin() * (directions - angle.cos() * pole)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found @ pole, torch.zeros(32).double(), rtol=0, atol=1e-5)


def test_sphere_log_is_finite_at_both_poles():
    pole = torch.tensor([0.6, 0.8])
    directions = torch.stack([pole, -pole]).requires_grad_()
    tangent = sphere_log(pole, directions)
    tangent.square().sum().backward()
    assert directions.grad.isfinite().all()
    assert norm(tangent).max() <= math.pi + 1e-3


@pytest.fixture
def fusions():
    """One fusion for each geometry, in training mode and without dropout."""
    torch.manual_seed(0)
    return {
        geometry: ManifoldFusion(
            CrmfConfig(dim=16, expert_dim=8, dropout=0.0, geometry=geometry), {"text": 12}, 12
        )
        for geometry in GEOMETRIES
    }


@pytest.fixture
def inputs():
    """Tokens of six texts, and their presence."""
    random = torch.Generator().manual_seed(0)
    tokens = Tokens(torch.randn(6, 4, 12, generator=random), torch.ones(6, 4))
    return {"text": tokens}, torch.ones(6, 3)


def test_the_flat_ablation_has_the_same_size():
    sizes = [
        [weight.numel() for weight in ManifoldFusion(config, {"text": 12}, 5).parameters()]
        for config in (CrmfConfig(geometry=geometry) for geometry in GEOMETRIES)
    ]
    assert sum(sizes[0]) == sum(sizes[1])


def test_flat_experts_are_affine_and_curved_ones_are_not(fusions):
    x, y = torch.randn(2, 16, 8).unbind()

    def bend(space):
        return (space(x + y) - space(x) - space(y) + space(torch.zeros_like(x))).abs().max()

    bends = {name: [bend(e.space) for e in fusion.experts] for name, fusion in fusions.items()}
    assert [bool(found > 1e-2) for found in bends["manifold"]] == [True, True, False]
    assert max(bends["euclidean"]) < 1e-5


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_load_term_is_least_when_all_experts_are_used(fusions, inputs, geometry):
    fusion = fusions[geometry]
    final = fusion.router[-1]
    torch.nn.init.zeros_(final.weight)
    torch.nn.init.zeros_(final.bias)
    assert fusion(*inputs).auxiliary_loss.item() == pytest.approx(0.01)
    torch.nn.init.constant_(final.bias[:1], 100.0)
    assert fusion(*inputs).auxiliary_loss.item() == pytest.approx(0.03)
    assert fusion.eval()(*inputs).auxiliary_loss == 0.0


def test_a_cold_router_takes_one_expert(fusions, inputs):
    fusion = fusions["manifold"]
    tokens, present = inputs
    one = {"text": Tokens(*(tensor[:1] for tensor in tokens["text"]))}
    loads = []
    for temperature in (1.0, 1e-4):
        fusion.temperature = temperature
        loads.append(fusion(one, present[:1]).auxiliary_loss.item() / fusion.load_weight)
    assert loads[0] < 1.5 < 2.9 < loads[1]


def test_the_geometry_is_float32_under_autocast(fusions, inputs):
    fusion, calls = fusions["manifold"], []
    for expert in fusion.experts:
        expert.space.register_forward_hook(lambda _, given, found: calls.append((*given, found)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fusion(*inputs)
    for expert, (given, found) in zip(fusion.experts, tuple(calls), strict=True):
        assert given.dtype == found.dtype == torch.float32
        # Exactly what the space says without autocast: no product was rounded.
        torch.testing.assert_close(expert.space(given), found, rtol=0, atol=0)
