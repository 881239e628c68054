import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaModel

from mmperson.config import ContoursConfig
from mmperson.models.encoders.contours import CATEGORIES, ContourEncoder
from mmperson.preprocessing.spec import TextSpec

SPEC = TextSpec(tokenizer_sha256="")


@pytest.fixture(scope="module")
def network(tiny_text_weights):
    torch.manual_seed(0)
    config = ContoursConfig(
        weights=str(tiny_text_weights), layers=(2,), window=4, step=2, contour_dim=8
    )
    return ContourEncoder(config, SPEC).eval()


def feature(network, token: int, name: str) -> float:
    return float(network.table[token, 3 + list(CATEGORIES).index(name)])


def test_words_have_their_categories(network):
    vocabulary = {"i": 1045, "not": 2025, "river": 2314, "doesn": 2987}
    assert feature(network, vocabulary["doesn"], "negation") == 1
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


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 7])
def test_averaged_tokens_have_contours_too(tiny_text_weights, length):
    config = ContoursConfig(weights=str(tiny_text_weights), layers=(2,), stride=4, window=2, step=1)
    network = ContourEncoder(config, SPEC).eval()
    ids = torch.arange(2000, 2000 + length).unsqueeze(0)
    values, mask = network(ids, torch.ones(1, length))
    assert values.shape == (1, (length + 3) // 4, network.dim)
    assert mask.all()


def test_a_byte_level_vocabulary_marks_where_words_start(tmp_path):
    vocabulary = {"<s>": 0, "Ġlike": 1, "like": 2, "âĢĻ": 3, "Ã": 4, "Ġ": 5}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    LlamaModel(LlamaConfig(vocab_size=6, num_hidden_layers=1, **shape)).save_pretrained(tmp_path)
    network = ContourEncoder(ContoursConfig(weights=str(tmp_path), layers=(1,)), SPEC)
    assert feature(network, 1, "positive emotion") == 1
    assert network.table[2, :3].tolist() == pytest.approx([4 / 12, 2 / 4, 0])
    assert network.table[2, 3:].sum() == 0  # It goes on with a word, as in "unlike".
    assert network.table[3].nonzero().flatten().tolist() == [0, 2]  # A curly apostrophe.
    assert network.table[[0, 4, 5]].sum() == 0  # Special, half a character, a space.
