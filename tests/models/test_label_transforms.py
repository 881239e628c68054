"""Label transforms: exact both ways, increasing, what their references say, the same in ONNX."""

import io

import numpy as np
import onnxruntime
import pytest
import torch
from scipy import stats
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, RobustScaler
from torch import nn

from mmperson.errors import DataError
from mmperson.models.label_transforms import LABEL_TRANSFORMS

NAN = float("nan")
FITTED = tuple(name for name in LABEL_TRANSFORMS if name != "none")
SHAPES = ("bell", "skewed", "other way", "outlier", "scale of 7", "coin", "constant", "near ties")


def draw_labels(rows=2000):
    """Labels of eight kinds, float32 (row, target)."""
    random = np.random.default_rng(0)
    skewed = random.beta(1.5, 8, size=rows)
    near_ties = np.where(random.random(rows) < 0.5, 0.3, np.nextafter(np.float32(0.3), 1))
    near_ties[:20] = random.random(20)
    columns = (
        np.clip(random.normal(0.5, 0.15, size=rows), 0, 1),
        skewed,
        1 - skewed,
        np.append(random.normal(0, 0.1, size=rows - 1), 3.0),
        random.choice(np.arange(1.0, 8.0), p=(0.02, 0.03, 0.05, 0.2, 0.4, 0.2, 0.1), size=rows),
        random.integers(0, 2, size=rows),
        np.full(rows, 0.4),
        near_ties,
    )
    return torch.from_numpy(np.stack(columns, axis=1)).float()


@pytest.fixture(scope="module")
def labels():
    return draw_labels()


@pytest.fixture(params=LABEL_TRANSFORMS)
def transform(request, labels):
    transform = LABEL_TRANSFORMS[request.param](len(SHAPES))
    transform.fit(labels)
    return transform


def between(labels, margin=0.0, steps=997):
    """Evenly spaced labels from the least to the greatest of each target, and beyond by a share."""
    low, high = labels.min(dim=0).values, labels.max(dim=0).values
    return low + (high - low) * torch.linspace(-margin, 1 + margin, steps)[:, None]


def test_the_way_back_is_exact(transform, labels):
    for x in (labels, between(labels), between(labels, margin=0.2)):
        torch.testing.assert_close(transform.inverse(transform(x)), x, rtol=0, atol=1e-5)


def test_order_is_kept(transform, labels):
    x = between(labels, margin=0.2)
    varied = (x[-1] - x[0]) > 0
    assert (transform(x).diff(dim=0)[:, varied] > 0).all()
    warped = torch.linspace(-6, 6, 997)[:, None].expand(-1, len(SHAPES))
    # Where ratings nearly tie, they differ by no more than rounding.
    assert (transform.inverse(warped).diff(dim=0) > -1e-7).all()


def test_gradients_are_finite_everywhere(transform, labels):
    far = torch.linspace(-50, 50, 401)[:, None].expand(-1, len(SHAPES))
    knots = transform(labels)
    for way, values in ((transform, labels), (transform.inverse, torch.cat([far, knots]))):
        values = values.clone().requires_grad_()
        way(values).sum().backward()
        assert torch.isfinite(values.grad).all()
        assert (values.grad > 0).all()


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("offset", [0.4, 100.0, -3000.0])
def test_an_offset_or_a_tiny_spread_is_no_trouble(name, offset):
    random = np.random.default_rng(0)
    clump = np.where(random.random(500) < 0.9, 0.5, random.random(500))
    noise = np.where(random.random(500) < 0.5, 0.0, np.spacing(offset))
    coarse = np.where(random.random(500) < 0.5, 0.0, np.spacing(np.float32(offset)))
    x = torch.from_numpy(offset + np.stack([clump, noise, coarse], axis=1)).float()
    transform = LABEL_TRANSFORMS[name](3)
    transform.fit(x)
    warped = transform(x)
    assert torch.isfinite(warped).all()
    assert warped.abs().max() < 10
    atol = 1e-5 * max(1.0, abs(offset) / 10)
    torch.testing.assert_close(transform.inverse(warped), x, rtol=0, atol=atol)


def test_before_the_fit_nothing_changes():
    x = torch.linspace(-3, 3, 40).reshape(20, 2)
    for name in LABEL_TRANSFORMS:
        transform = LABEL_TRANSFORMS[name](2)
        torch.testing.assert_close(transform(x), x)
        torch.testing.assert_close(transform.inverse(x), x)


@pytest.mark.parametrize("name", FITTED)
def test_unknown_labels_are_left_out_of_the_fit_and_stay_unknown(name, labels):
    gappy, clean = LABEL_TRANSFORMS[name](1), LABEL_TRANSFORMS[name](1)
    known = labels[:, 1:2]
    clean.fit(known)
    gappy.fit(torch.cat([known, torch.full((50, 1), NAN)]))
    torch.testing.assert_close(gappy.state_dict(), clean.state_dict())
    assert gappy(torch.full((1, 1), NAN)).isnan().all()


@pytest.mark.parametrize("name", FITTED)
def test_a_second_fit_forgets_the_first(name, labels):
    again, once = LABEL_TRANSFORMS[name](1), LABEL_TRANSFORMS[name](1)
    again.fit(labels[:, 1:2])
    for column in (1, 6):
        again.fit(labels[:, column : column + 1])
    once.fit(labels[:, 6:7])
    torch.testing.assert_close(again.state_dict(), once.state_dict())


@pytest.mark.parametrize("name", LABEL_TRANSFORMS)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.1, NAN], [0.2, NAN]], "Target 1 has no known label"),
        ([[0.1, 0.2], [float("inf"), 0.3]], "Target 0 .* infinite"),
        ([[0.1, 0.2, 0.3]], r"shape \(1, 3\); \(rows, 2\)"),
    ],
)
def test_labels_that_cannot_be_fitted_are_refused(name, rows, message):
    with pytest.raises(DataError, match=message):
        LABEL_TRANSFORMS[name](2).fit(torch.tensor(rows))


@pytest.mark.parametrize("name", FITTED)
def test_a_single_row_can_be_fitted(name):
    transform = LABEL_TRANSFORMS[name](1)
    transform.fit(torch.tensor([[0.7]]))
    x = torch.tensor([[0.2], [0.7], [0.9]])
    torch.testing.assert_close(transform(x), x - 0.7)
    torch.testing.assert_close(transform.inverse(transform(x)), x)


@pytest.mark.parametrize("name", FITTED)
def test_a_checkpoint_carries_the_fit(name, labels):
    fitted, fresh = (LABEL_TRANSFORMS[name](len(SHAPES)) for _ in range(2))
    fitted.fit(labels)
    fresh.load_state_dict(fitted.state_dict())
    torch.testing.assert_close(fresh(labels), fitted(labels), rtol=0, atol=0)
    assert not list(fitted.parameters())


def test_robust_is_the_distance_in_interquartile_ranges(labels):
    transform = LABEL_TRANSFORMS["robust"](4)
    transform.fit(labels[:, :4])
    expected = RobustScaler().fit_transform(labels[:, :4].double().numpy())
    np.testing.assert_allclose(transform(labels[:, :4]).numpy(), expected, atol=1e-5)


def test_rank_makes_labels_normal(labels):
    continuous = labels[:, :4]
    transform = LABEL_TRANSFORMS["rank"](4)
    transform.fit(continuous)
    warped = transform(continuous).numpy()
    reference = QuantileTransformer(n_quantiles=2000, output_distribution="normal")
    expected = reference.fit_transform(continuous.double().numpy())
    # The reference sends the two ends to ±5.2; here they are half a row from the end.
    inner = np.abs(expected) < 2.5
    assert np.abs(warped - expected)[inner].max() < 0.1
    np.testing.assert_allclose(np.abs(warped).max(axis=0), stats.norm.isf(0.5 / 2000), atol=0.01)
    assert np.abs(stats.skew(warped)).max() < 0.05
    np.testing.assert_allclose(warped.std(axis=0), 1, atol=0.02)


def test_ties_share_their_middle_rank(labels):
    transform = LABEL_TRANSFORMS["rank"](len(SHAPES))
    transform.fit(labels)
    coin = labels[:, SHAPES.index("coin")]
    share = (coin == 0).double().mean().item()
    expected = stats.norm.ppf([share / 2, (1 + share) / 2])
    warped = transform(labels)[:, SHAPES.index("coin")]
    np.testing.assert_allclose(warped.unique().numpy(), expected, atol=1e-4)


def test_yeo_johnson_is_that_of_scipy(labels):
    columns = labels[:, :5]
    transform = LABEL_TRANSFORMS["yeo_johnson"](5)
    transform.fit(columns)
    standard = stats.zscore(columns.double().numpy())
    for index in range(5):
        expected, power = stats.yeojohnson(standard[:, index])
        if -2 < power < 4:
            assert transform.power[index].item() == pytest.approx(power, abs=1e-3)
            np.testing.assert_allclose(transform(columns)[:, index].numpy(), expected, atol=2e-3)
    reference = PowerTransformer(standardize=False).fit(standard)
    inside = (reference.lambdas_ > -2) & (reference.lambdas_ < 4)
    assert inside.sum() >= 4
    np.testing.assert_allclose(transform.power.numpy()[inside], reference.lambdas_[inside], 1e-2)


POWERS = np.array([-2.0, -1e-5, 0.0, 1e-3, 0.5, 1.0, 1.99, 2.0, 2.00003, 4.0])


@pytest.fixture
def powered():
    """A Yeo-Johnson transform with a target for each power, fitted between -3 and 3."""
    transform = LABEL_TRANSFORMS["yeo_johnson"](len(POWERS))
    transform.power.copy_(torch.from_numpy(POWERS))
    for index, power in enumerate(POWERS):
        ends = np.array([-3.0, 3.0])
        transform.label_range[:, index] = torch.from_numpy(ends)
        transform.warped_range[:, index] = torch.from_numpy(stats.yeojohnson(ends, power))
    return transform


def test_yeo_johnson_has_no_gap_at_any_power(powered):
    x = torch.linspace(-3, 3, 601)[:, None].repeat(1, len(POWERS)).requires_grad_()
    warped = powered(x)
    values = x.detach().double().numpy()
    expected = [stats.yeojohnson(*pair) for pair in zip(values.T, POWERS, strict=True)]
    np.testing.assert_allclose(warped.detach().numpy().T, expected, rtol=2e-4, atol=1e-5)
    torch.testing.assert_close(powered.inverse(warped), x, rtol=0, atol=1e-5)
    warped.sum().backward()
    assert x.grad.min() > 0


@pytest.mark.parametrize("outside", [False, True])
def test_yeo_johnson_slopes_are_those_of_the_values(powered, outside):
    powered.double()
    x = torch.linspace(-2.9, 2.9, 8).double()[:, None].repeat(1, len(POWERS)) * (1 + outside)
    for way, values in ((powered, x), (powered.inverse, powered(x))):
        assert torch.autograd.gradcheck(way, values.detach().requires_grad_())


class Back(nn.Module):
    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def forward(self, warped):
        return self.transform.inverse(warped) + 0.0


def assert_same_in_onnx(transform, warped):
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.onnx.export(
        Back(transform).eval(),
        (warped[:3],),
        dynamic_shapes={"warped": {0: batch}},
        opset_version=20,
        dynamo=True,
        verbose=False,
    )
    graph = io.BytesIO()
    program.save(graph)
    session = onnxruntime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
    for rows in (warped, warped[:1]):
        (scores,) = session.run(None, {"warped": rows.numpy()})
        np.testing.assert_allclose(scores, transform.inverse(rows).numpy(), rtol=0, atol=1e-5)
    return {node.op_type for node in program.model_proto.graph.node}


@pytest.mark.slow
def test_the_way_back_is_the_same_in_onnx(transform, labels):
    warped = torch.cat([transform(labels), transform(between(labels, margin=0.2))])
    # ONNX Runtime has no kernel for these on a GPU, or they are control flow.
    assert not assert_same_in_onnx(transform, warped) & {"Atanh", "Asinh", "If", "Loop", "Scan"}


@pytest.mark.slow
def test_every_power_is_the_same_in_onnx(powered):
    x = torch.linspace(-3, 3, 601)[:, None].repeat(1, len(POWERS))
    assert_same_in_onnx(powered, powered(x))
