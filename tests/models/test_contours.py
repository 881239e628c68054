import pytest
import torch

from mmperson.config import ContoursConfig
from mmperson.inputs.spec import TextSpec
from mmperson.models.encoders.contours import CATEGORIES, ContourEncoder


@pytest.fixture
def network(tiny_text_weights):
    torch.manual_seed(0)
    config = ContoursConfig(
        weights=str(tiny_text_weights), layers=(2,), window=4, step=2, contour_dim=8
    )
    return ContourEncoder(config, TextSpec(tokenizer_sha256="")).eval()


def feature(network, token: int, name: str) -> float:
    return float(network.table[token, 3 + list(CATEGORIES).index(name)])


def test_words_have_their_categories(network):
    vocabulary = {"i": 1045, "not": 2025, "river": 2314}
    assert feature(network, vocabulary["i"], "first person singular") == 1
    assert feature(network, vocabulary["not"], "negation") == 1
    assert network.table[vocabulary["river"], 3:].sum() == 0
    assert network.table[vocabulary["river"], 0] == pytest.approx(5 / 12)
    assert network.table[1012, 2] == 1  # A full stop.


def test_padding_changes_nothing(network):
    ids = torch.tensor([[101, 1045, 2025, 2314, 2023, 1012, 102]])
    mask = torch.ones(1, 7)
    alone = network(ids, mask)
    padded = network(torch.cat([ids, ids * 0], dim=1), torch.cat([mask, mask * 0], dim=1))
    torch.testing.assert_close(padded.values[:, :7], alone.values, atol=1e-5, rtol=0)


def test_what_is_said_later_reaches_the_first_token(network):
    ids = torch.tensor([[101, 1045, 2025, 2314, 2023, 2314, 2314, 2314, 2314, 102]])
    mask = torch.ones_like(ids, dtype=torch.float32)
    features = network.features(ids, mask)
    changed = features.values.clone()
    changed[:, -2:, network.states_dim :] += 1.0
    first = network.adapt(features).values[:, 0]
    assert (network.adapt(features._replace(values=changed)).values[:, 0] - first).abs().max() > 0


def test_one_token_is_enough(network):
    assert network(torch.tensor([[101]]), torch.ones(1, 1)).values.isfinite().all()
