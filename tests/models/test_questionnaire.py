import numpy as np
import onnxruntime
import pytest
import torch
from transformers import LlamaForCausalLM

from mmperson.config import QuestionnaireConfig
from mmperson.errors import ConfigError
from mmperson.exporting.graph import export_graph
from mmperson.exporting.wrapper import EncoderGraph, Part
from mmperson.models.encoders.questionnaire import QuestionnaireEncoder
from mmperson.preprocessing.spec import TextSpec
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.preprocessing.text.inventory import INTRODUCTION, ITEMS, question

SPEC = TextSpec(tokenizer_sha256="")


@pytest.fixture(scope="module")
def network(tiny_language_model):
    torch.manual_seed(0)
    config = QuestionnaireConfig(weights=str(tiny_language_model), dim=8)
    return QuestionnaireEncoder(config, SPEC).eval()


def test_answers_are_those_of_each_item_alone(network, tiny_language_model):
    tokenizer = load_tokenizer(tiny_language_model / "tokenizer.json")
    model = LlamaForCausalLM.from_pretrained(tiny_language_model).eval()
    said = tokenizer.encode("I plan my day.").ids
    intro = tokenizer.encode(INTRODUCTION, add_special_tokens=False).ids
    choices = [tokenizer.encode(str(n), add_special_tokens=False).ids[-1] for n in range(1, 6)]
    expected = []
    for item in ITEMS:
        asked = tokenizer.encode(question(item), add_special_tokens=False).ids
        with torch.no_grad():
            logits = model(torch.tensor([[*said, *intro, *asked]])).logits[0, -1, choices]
        expected.append(logits.softmax(dim=0) @ torch.arange(1.0, 6.0))
    ids = torch.tensor([[*said, 0, 0, 0]])
    mask = (torch.arange(ids.shape[1]) < len(said)).float().unsqueeze(0)
    with torch.no_grad():
        found = network.features(ids, mask).values[0, :, 0]
    torch.testing.assert_close(3 + 2 * found, torch.stack(expected), atol=1e-5, rtol=0)


def test_the_transcript_changes_the_answers(network):
    ids = torch.tensor([[101, 2023, 102], [101, 2314, 102]])
    with torch.no_grad():
        first, second = network.features(ids, torch.ones(2, 3)).values
    assert (first - second).abs().max() > 1e-7


def test_only_what_stands_behind_the_language_model_learns(network):
    assert network.frozen
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert learning == {"log_gain", "shift", "weight", "bias"}
    assert not network.train().reader.training
    network.eval()


def test_training_begins_at_standard_scores(network):
    random = np.random.default_rng(0)
    answers = torch.from_numpy(random.normal(0.3, 0.02, size=(40, len(ITEMS)))).float()
    network.fit_features(list(answers.unsqueeze(-1)))
    standard = (network.log_gain.exp() * answers + network.shift).detach()
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(len(ITEMS)), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        standard.std(dim=0, correction=0), torch.ones(len(ITEMS)), atol=1e-4, rtol=0
    )


def test_an_encoder_like_bert_answers_nothing(tiny_text_weights):
    with pytest.raises(ConfigError, match="no causal language model"):
        QuestionnaireEncoder(QuestionnaireConfig(weights=str(tiny_text_weights)), SPEC)


@pytest.mark.slow
def test_the_graph_says_what_the_network_says(network):
    ids = torch.randint(1, 2000, (2, 9))
    axes = {0: "batch", 1: "token"}
    inputs = {"text": ids, "text_mask": torch.ones(ids.shape)}
    part = Part(EncoderGraph(network), inputs, {name: axes for name in inputs}, ("tokens", "mask"))
    session = onnxruntime.InferenceSession(export_graph(part, {}).SerializeToString())
    x, mask = torch.randint(1, 2000, (3, 6)), torch.ones(3, 6)
    mask[1, 5:] = mask[2, 1:] = 0
    found = session.run(None, {"text": x.numpy(), "text_mask": mask.numpy()})
    with torch.no_grad():
        expected = network(x, mask)
    for given, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(given), wanted, atol=1e-4, rtol=1e-4)
