import numpy as np
import pytest
import torch

from mmperson.config import OptimConfig
from mmperson.training.optim import build_optimizer, set_rate, wait_for_better
from mmperson.training.state import Progress


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
    config = OptimConfig(warmup=0.1)
    factors = [set_rate(optimizer, config, Progress(step=step), 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == 1.0
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[-1] < 1e-3
    assert optimizer.param_groups[0]["lr"] == factors[-1] * optimizer.param_groups[0]["peak_lr"]


def test_on_a_plateau_the_rate_falls_as_torch_lets_it_fall(optimizer):
    metrics = np.random.default_rng(0).random(400) + np.minimum(np.arange(400), 100) / 50
    config, progress = OptimConfig(schedule="plateau", warmup=0.0), Progress()
    rates = [group["lr"] for group in optimizer.param_groups]
    reference = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in rates])
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        reference, "max", factor=0.8, patience=5, threshold=0.0, min_lr=1e-6, eps=0.0
    )
    for epoch, metric in enumerate(metrics):
        set_rate(optimizer, config, progress, 400)
        for ours, theirs in zip(optimizer.param_groups, reference.param_groups, strict=True):
            assert ours["lr"] == pytest.approx(theirs["lr"])
        if progress.best is None or metric > progress.best:
            progress.best, progress.best_epoch = metric, epoch
        wait_for_better(progress, epoch)
        schedule.step(metric)
        progress.step += 1
    assert {group["lr"] for group in optimizer.param_groups} == {1e-6}


def test_a_plateau_is_reached_after_the_warmup(optimizer):
    config = OptimConfig(schedule="plateau", warmup=0.1)
    factors = [set_rate(optimizer, config, Progress(step=s, lowered=1), 100) for s in range(20)]
    assert factors == pytest.approx([*(np.arange(1, 11) / 10), *[0.8] * 10])
