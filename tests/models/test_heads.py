import pytest
import torch

from mmperson.config import HeadsConfig
from mmperson.models.heads import EnsembleHead, PerTraitHead

NAN = float("nan")
HEADS = (
    (EnsembleHead, {"members": 3, "shared": True}),
    (EnsembleHead, {"members": 3}),
    (PerTraitHead, {"name": "per_trait", "hidden": 4}),
    (PerTraitHead, {"name": "per_trait", "hidden": 0}),
)


@pytest.fixture(params=HEADS, ids=["shared", "own", "hidden", "linear"])
def build(request):
    head, options = request.param

    def build(dim=8, targets=5, **others):
        torch.manual_seed(0)
        return head(HeadsConfig(**options, **others), dim, targets)

    return build


def test_the_score_is_the_mean_of_the_members():
    torch.manual_seed(0)
    head = EnsembleHead(HeadsConfig(members=3, shared=True), dim=8, targets=5)
    fused = torch.randn(2, 5, 8)
    members = []
    for member in range(3):
        x = fused
        for index, (weight, bias) in enumerate(zip(head.weights, head.biases, strict=True)):
            x = (x.relu() if index else x) @ weight[member] + bias[member]
        members.append(x.squeeze(-1))
    torch.testing.assert_close(head(fused), 0.5 + 0.15 * torch.stack(members).mean(dim=0))


def test_targets_may_have_members_of_their_own():
    own = EnsembleHead(HeadsConfig(members=3), dim=8, targets=2)
    fused = torch.randn(4, 2, 8)
    for target in range(2):
        alone = EnsembleHead(HeadsConfig(members=3), dim=8, targets=1)
        for ours, theirs in ((own.weights, alone.weights), (own.biases, alone.biases)):
            for whole, part in zip(ours, theirs, strict=True):
                part.data = whole[target].detach().clone()
        expected = alone(fused[:, target : target + 1]).squeeze(-1)
        torch.testing.assert_close(own(fused)[:, target], expected)


def test_a_linear_per_trait_head_is_one_linear_layer_per_target():
    head = PerTraitHead(HeadsConfig(name="per_trait", hidden=0), dim=8, targets=3)
    fused = torch.randn(4, 3, 8)
    z = torch.einsum("btd,td->bt", fused, head.weights[0].squeeze(-1)) + head.biases[0].flatten()
    torch.testing.assert_close(head(fused), 0.5 + 0.15 * z)


@pytest.mark.parametrize("targets", [1, 5, 12])
def test_scores_have_one_column_per_target_and_everything_learns(build, targets):
    head = build(targets=targets)
    scores = head(torch.randn(7, targets, 8))
    assert scores.shape == (7, targets)
    scores.square().sum().backward()
    assert all(parameter.grad.any() for parameter in head.parameters())


def test_a_target_is_scored_by_its_own_vector(build):
    head, fused = build(), torch.randn(3, 5, 8)
    other = fused.clone()
    other[:, 2] += 1.0
    changed = (head(other) - head(fused)).abs().amax(dim=0) > 1e-6
    assert changed.tolist() == [False, False, True, False, False]


def test_outputs_are_bounded_as_asked(build):
    fused = 3.0 * torch.randn(3, 5, 8)
    z = (build()(fused) - 0.5) / 0.15
    torch.testing.assert_close(build(output="sigmoid")(fused), z.sigmoid(), atol=1e-5, rtol=0)
    torch.testing.assert_close(build(output="tanh")(fused), (z.tanh() + 1) / 2, atol=1e-5, rtol=0)


def test_scores_are_in_units_of_the_training_labels(build):
    head = build(targets=3)
    head.fit_scale(torch.tensor([[0.2, 0.6, NAN], [0.4, 0.8, 0.7], [NAN, 1.0, NAN]]))
    torch.testing.assert_close(head.base, torch.tensor([0.3, 0.8, 0.7]))
    # One known label has no deviation: its target is scored with that label.
    torch.testing.assert_close(head.scale, torch.tensor([0.02**0.5, 0.2, 0.0]))


def test_parameters_keep_the_names_that_checkpoints_know():
    head = EnsembleHead(HeadsConfig(members=4, shared=True), dim=8, targets=5)
    shapes = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    assert shapes == {
        "base": (5,),
        "scale": (5,),
        "weights.0": (4, 8, 4),
        "weights.1": (4, 4, 32),
        "weights.2": (4, 32, 1),
        "biases.0": (4, 1, 4),
        "biases.1": (4, 1, 32),
        "biases.2": (4, 1, 1),
    }


def test_calibration_puts_a_line_through_each_targets_scores(build):
    torch.manual_seed(0)
    head = build(targets=3)
    head.fit_scale(torch.rand(20, 3))
    fused = torch.randn(40, 3, 8)
    scores = head(fused).detach()
    targets = torch.stack([0.2 + 0.5 * scores[:, 0], 0.3 - 2 * scores[:, 1], NAN * scores[:, 2]], 1)
    head.calibrate(scores, targets)
    lined = head(fused)
    torch.testing.assert_close(lined[:, :2], targets[:, :2])
    torch.testing.assert_close(lined[:, 2], scores[:, 2])  # Of the third nothing is known.
