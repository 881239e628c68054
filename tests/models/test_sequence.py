import pytest
import torch

from mmperson.models.encoders.encoder import InputBatch
from mmperson.models.encoders.sequence import SequenceEncoder
from tests.fixtures.components import small_recipe
from tests.fixtures.encoders import check_alone_and_together, check_export, check_gradients


@pytest.fixture(params=[[], ["mean", "std"]], ids=["frames", "statistics"])
def config(request):
    audio = {"name": "librosa", "features": ["mfcc", "rms"], "statistics": request.param}
    audio |= {"window_s": 2.0, "dim": 8, "dropout": 0.0}
    return small_recipe({"audio": audio}, None, None).audio


@pytest.fixture
def encoder(config):
    torch.manual_seed(0)
    return SequenceEncoder(config, config.spec())


@pytest.fixture
def batch(config):
    """Two clips; the second is shorter where there are frames."""
    shape = config.spec().shape
    x, mask = torch.randn(2, *shape), torch.ones(2, shape[0])
    mask[1, max(1, shape[0] // 3) :] = 0.0
    return x * mask.unsqueeze(-1), mask


def test_tokens_depend_on_their_clip_alone(encoder, batch):
    check_alone_and_together(encoder, *batch)
    assert encoder(*batch).values.shape[1] == (1 if encoder.group == 1 else 15)


def test_padding_says_nothing(encoder, batch):
    x, mask = batch
    noise = torch.where(mask.unsqueeze(-1) > 0, x, torch.full_like(x, 1e4))
    torch.testing.assert_close(encoder.eval()(noise, mask).values, encoder(x, mask).values)


def test_every_parameter_learns(encoder, batch):
    check_gradients(encoder, *batch)


def test_the_graph_says_what_the_encoder_says(encoder, batch):
    check_export(encoder, *batch)


def test_features_are_standardised_over_what_is_real(encoder):
    time, size = (6, encoder.mean.shape[0])
    x = 3.0 + 2.0 * torch.randn(50, time, size)
    mask = torch.ones(50, time)
    mask[::2, 4:] = 0.0
    absent = InputBatch(torch.full_like(x, 1e6), torch.ones(50, time), torch.zeros(50))
    encoder.fit([InputBatch(x, mask, torch.ones(50)), absent])
    real = x[mask > 0]
    torch.testing.assert_close(encoder.mean, real.mean(dim=0))
    torch.testing.assert_close(encoder.scale, real.std(dim=0, correction=0))
