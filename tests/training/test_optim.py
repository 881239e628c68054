import pytest
import torch

from mmperson.config import OptimConfig
from mmperson.training.optim import build_optimizer, set_rate


@pytest.fixture
def optimizer():
    network = torch.nn.ModuleDict({"head": torch.nn.Linear(4, 2)})
    backbone = torch.nn.Module()
    backbone.backbone = torch.nn.Linear(4, 4)
    network["encoders"] = torch.nn.ModuleDict({"text": backbone})
    config = OptimConfig(lr=1e-2, encoder_lr=1e-4, weight_decay=0.1)
    return build_optimizer(network, config, pretrained=("text",))


def test_pretrained_weights_learn_slowly_and_vectors_do_not_decay(optimizer):
    settings = {
        (g["peak_lr"], g["weight_decay"], g["params"][0].ndim) for g in optimizer.param_groups
    }
    assert settings == {(1e-2, 0.1, 2), (1e-2, 0.0, 1), (1e-4, 0.1, 2), (1e-4, 0.0, 1)}


def test_the_rate_rises_to_its_peak_and_falls_to_nothing(optimizer):
    factors = [set_rate(optimizer, step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == 1.0
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[-1] < 1e-3
    assert optimizer.param_groups[0]["lr"] == factors[-1] * optimizer.param_groups[0]["peak_lr"]
