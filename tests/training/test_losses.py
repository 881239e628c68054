"""Every loss against its formula; unknown labels; pairs within groups."""

import math

import numpy as np
import pytest
import torch
from scipy.special import huber
from torch.nn import functional

from mmperson.config import LossConfig
from mmperson.errors import ConfigError
from mmperson.evaluation.metrics import ccc
from mmperson.training.losses import LOSSES, build_loss

NAN = float("nan")


@pytest.fixture
def scores():
    random = torch.Generator().manual_seed(0)
    return (0.5 + 0.2 * torch.randn(9, 5, generator=random)).double()


@pytest.fixture
def targets():
    random = torch.Generator().manual_seed(1)
    return torch.rand(9, 5, generator=random).double()


@pytest.fixture
def holes(targets):
    """The targets with unknown labels: some, all but one of a target, and all of one."""
    targets = targets.clone()
    targets[[0, 3], 0] = targets[1:, 1] = targets[:, 2] = NAN
    return targets


def slopes(loss, scores, *others):
    scores = scores.clone().requires_grad_()
    value = loss(scores, *others)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()
    return scores.grad


@pytest.mark.parametrize(
    ("name", "formula"),
    {
        "mse": lambda s, t: np.mean((s - t) ** 2),
        "mae": lambda s, t: np.mean(np.abs(s - t)),
        "huber": lambda s, t: np.mean(huber(0.2, s - t)),
        "smooth_l1": lambda s, t: np.mean(huber(0.2, s - t)) / 0.2,
        "ccc": lambda s, t: 1 - np.mean([ccc(*pair) for pair in zip(s.T, t.T, strict=True)]),
    }.items(),
)
def test_a_base_is_its_formula(name, formula, scores, targets):
    value = build_loss(LossConfig(name=name, beta=0.2))(scores, targets)
    assert value.item() == pytest.approx(formula(scores.numpy(), targets.numpy()), rel=1e-6)


def test_every_base_has_a_formula_here():
    assert set(LOSSES) == {"mse", "mae", "huber", "smooth_l1", "ccc"}


FULL = {"ranking_weight": 0.3, "spread_weight": 0.5, "target_weights": (1.0, 2.0, 3.0, 1.0, 1.0)}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_value(name, scores, holes):
    loss = build_loss(LossConfig(name=name, **FULL))
    groups = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert torch.autograd.gradcheck(
        lambda s: loss(s, holes, groups), scores.requires_grad_(), eps=1e-7, atol=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_label_is_in_no_term(name, scores, holes):
    loss = build_loss(LossConfig(name=name, **FULL))
    slope = slopes(loss, scores, holes)
    unknown = holes.isnan()
    assert not slope[unknown].any()
    assert slope[:, 0][~unknown[:, 0]].all()
    moved = torch.where(unknown, scores + 7.0, scores)
    torch.testing.assert_close(loss(moved, holes), loss(scores, holes))


@pytest.mark.parametrize("name", LOSSES)
def test_a_target_that_nobody_rated_changes_nothing(name, scores, targets):
    loss = build_loss(LossConfig(name=name, ranking_weight=0.3, spread_weight=0.5))
    padded = torch.cat([targets, torch.full((9, 1), NAN, dtype=torch.float64)], dim=1)
    wider = torch.cat([scores, torch.ones(9, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(loss(wider, padded), loss(scores, targets))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", ["nothing known", "one row", "constant", "constant and met"])
def test_degenerate_batches_stay_finite(name, case, scores, targets):
    loss = build_loss(LossConfig(name=name, **FULL))
    scores, targets = scores.float(), targets.float()
    if case == "nothing known":
        assert not slopes(loss, scores, torch.full_like(targets, NAN)).any()
    elif case == "one row":
        slopes(loss, scores[:1], targets[:1])
    elif case == "constant":
        slopes(loss, scores, torch.full_like(targets, 0.3))
    else:
        slope = slopes(loss, torch.full_like(targets, 0.3), torch.full_like(targets, 0.3))
        assert slope.abs().max() < 1e-3


def test_agreement_cannot_be_told_from_one_row(scores, targets):
    loss = build_loss(LossConfig(name="ccc"))
    assert loss(scores[:1], targets[:1]).item() == 1.0
    assert not slopes(loss, scores[:1], targets[:1]).any()


def test_agreement_is_measured_on_the_rows_that_are_known(scores, holes):
    expected = [
        ccc(scores[known, index].numpy(), holes[known, index].numpy())
        for index, known in enumerate((~holes.isnan()).T)
        if known.any()
    ]
    value = build_loss(LossConfig(name="ccc"))(scores, holes)
    assert value.item() == pytest.approx(1 - np.mean(expected), rel=1e-6)


def test_a_target_counts_as_much_as_its_weight(scores, targets):
    errors = (scores - targets).square().mean(dim=0)
    weighted = build_loss(LossConfig(name="mse", target_weights=(2.0, 1.0, 1.0, 3.0, 3.0)))
    expected = (errors * torch.tensor([1.0, 0.5, 0.5, 1.5, 1.5])).mean()
    torch.testing.assert_close(weighted(scores, targets), expected)


def test_weights_must_fit_the_targets(scores, targets):
    loss = build_loss(LossConfig.model_construct(name="mse", target_weights=(1.0, 2.0)))
    with pytest.raises(ConfigError, match="has 2 entries; there are 5 targets"):
        loss(scores, targets)


def ranking(scores, targets, groups, beta):
    """The term alone: the loss with it less the loss without it."""
    config = LossConfig(name="mae", beta=beta, ranking_weight=2.0)
    plain = build_loss(LossConfig(name="mae", beta=beta))
    return (build_loss(config)(scores, targets, groups) - plain(scores, targets)) / 2.0


def test_ranking_is_the_mean_over_the_pairs_of_a_group(scores, targets):
    targets[0, 0] = targets[1, 0]
    targets[2, 1] = NAN
    groups = torch.tensor([5, 5, 5, 5, 9, 9, 9, 9, -1])
    expected = [
        math.log1p(math.exp(-(scores[i, k] - scores[j, k]).item() / 0.05))
        for i in range(9)
        for j in range(9)
        for k in range(5)
        if groups[i] == groups[j] and targets[i, k] > targets[j, k]
    ]
    assert ranking(scores, targets, groups, 0.05).item() == pytest.approx(np.mean(expected))


def test_pairs_across_groups_are_not_ranked(scores, targets):
    groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    shifted = torch.where(groups[:, None] == 1, targets + 10.0, targets)
    torch.testing.assert_close(
        ranking(scores, shifted, groups, 0.1), ranking(scores, targets, groups, 0.1)
    )
    alone = torch.arange(9)
    assert ranking(scores, targets, alone, 0.1).item() == 0.0


def test_without_groups_the_batch_is_one(scores, targets):
    one = torch.zeros(9, dtype=torch.int64)
    torch.testing.assert_close(
        ranking(scores, targets, None, 0.1), ranking(scores, targets, one, 0.1)
    )


def test_the_spread_term_compares_deviations(scores, targets):
    plain, spread = (LossConfig(name="mae", spread_weight=weight) for weight in (0.0, 3.0))
    difference = build_loss(spread)(scores, targets) - build_loss(plain)(scores, targets)
    expected = 3.0 * np.mean((scores.numpy().std(axis=0) - targets.numpy().std(axis=0)) ** 2)
    assert difference.item() == pytest.approx(expected, rel=1e-5)


def test_unweighted_terms_are_left_out(scores, targets):
    value = build_loss(LossConfig(name="smooth_l1", beta=0.1))(scores, targets)
    torch.testing.assert_close(value, functional.smooth_l1_loss(scores, targets, beta=0.1))


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_scores_are_judged_in_float32(name, scores, targets):
    loss = build_loss(LossConfig(name=name, ranking_weight=0.3, spread_weight=0.5))
    rough, targets = scores.bfloat16(), targets.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(rough, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(rough.float(), targets), rtol=0, atol=0)
