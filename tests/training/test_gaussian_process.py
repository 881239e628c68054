import numpy as np
import pytest
import torch

from mmperson.config import TeacherConfig
from mmperson.training.distillation.gaussian_process import SumKernel, fit_kernel, unseen_residuals

SOURCES = np.array(["c", "a", "b", "a", "c", "d", "a", "b", "d", "c", "b", "a"])
PARTS = {"audio": slice(0, 4), "text": slice(4, 10), "words": slice(10, 11)}


@pytest.fixture
def rows():
    return torch.randn(12, 11, generator=torch.Generator().manual_seed(0)) / 2


@pytest.fixture
def targets():
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def kernel():
    return SumKernel(PARTS).requires_grad_(False)


def test_unseen_residuals_equal_refitting_without_the_source(kernel, rows, targets):
    precision = kernel.precision(rows)
    residuals = unseen_residuals(precision, precision @ targets, SOURCES)
    for source in np.unique(SOURCES):
        out = torch.from_numpy(source == SOURCES)
        refitted = kernel(rows[out], rows[~out]) @ kernel.precision(rows[~out]) @ targets[~out]
        torch.testing.assert_close(targets[out] - residuals[out], refitted, atol=1e-4, rtol=1e-4)


def test_the_memory_is_the_posterior_mean(kernel, rows, targets):
    memory = kernel.remember(rows, targets)
    new = rows.flip(dims=(1,))
    expected = kernel(new, rows) @ kernel.precision(rows) @ targets
    torch.testing.assert_close(memory(new), expected, atol=1e-5, rtol=1e-5)


def test_a_kernel_is_symmetric_and_positive_definite(kernel, rows):
    covariance = kernel(rows, rows)
    torch.testing.assert_close(covariance, covariance.T)
    assert torch.linalg.eigvalsh(covariance).min() > 0


@pytest.mark.slow
def test_fitting_lowers_the_error_on_unseen_sources():
    sources = np.repeat([f"s{i:02d}" for i in range(60)], 2)
    random = torch.Generator().manual_seed(0)
    audio = torch.randn(120, 4, generator=random)
    noise = 0.3 * torch.randn(120, 2, generator=random)
    targets = torch.stack([audio[:, 0], -audio[:, 0]], dim=1) + noise
    errors = []
    for steps in (0, 40):
        config = TeacherConfig(steps=steps, sources=60, unseen_weight=1.0)
        kernel = fit_kernel({"audio": slice(0, 4)}, audio, targets, sources, config, seed=0)
        precision = kernel.precision(audio)
        residuals = unseen_residuals(precision, precision @ targets, sources)
        errors.append(float(residuals.square().mean()))
    assert errors[1] < 0.9 * errors[0]
