import numpy as np
import pytest
import torch

from mmperson.config import TeacherConfig
from mmperson.training.teacher import SumKernel, fit_kernel, unseen_scores

SOURCES = np.array(["c", "a", "b", "a", "c", "d", "a", "b", "d", "c", "b", "a"])


@pytest.fixture
def features():
    random = torch.Generator().manual_seed(0)
    return {
        "audio": torch.randn(12, 4, generator=random),
        "text": torch.randn(12, 6, generator=random) / 6**0.5,
        "words": torch.randn(12, 1, generator=random),
    }


def test_unseen_scores_equal_refitting_without_the_source(features):
    targets = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    kernel = SumKernel(4, text=True).requires_grad_(False)
    scores = unseen_scores(kernel, features, targets, SOURCES)
    for source in np.unique(SOURCES):
        out = source == SOURCES
        seen = {name: values[~out] for name, values in features.items()}
        new = {name: values[out] for name, values in features.items()}
        refitted = kernel(new, seen) @ kernel.precision(seen) @ targets[~out]
        torch.testing.assert_close(scores[out], refitted, atol=1e-4, rtol=1e-4)


def test_a_kernel_is_symmetric_and_positive_definite(features):
    covariance = SumKernel(4, text=True)(features, features)
    torch.testing.assert_close(covariance, covariance.T)
    assert torch.linalg.eigvalsh(covariance).min() > 0


def test_fitting_lowers_the_error_on_unseen_sources():
    random = np.random.default_rng(0)
    sources = np.repeat([f"s{i:02d}" for i in range(60)], 2)
    audio = torch.from_numpy(random.normal(size=(120, 4))).float()
    targets = torch.stack([audio[:, 0], -audio[:, 0]], dim=1) + 0.3 * torch.randn(
        120, 2, generator=torch.Generator().manual_seed(0)
    )
    errors = []
    for steps in (0, 40):
        config = TeacherConfig(steps=steps, sources=60, unseen_weight=1.0)
        kernel = fit_kernel({"audio": audio}, targets, sources, config, seed=0)
        scores = unseen_scores(kernel, {"audio": audio}, targets, sources)
        errors.append(float((scores - targets).square().mean()))
    assert errors[1] < 0.9 * errors[0]
