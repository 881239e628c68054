import shutil
from pathlib import Path

import onnxruntime
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    Phi3Config,
    Phi3Model,
    RobertaConfig,
    RobertaModel,
)

from mmperson.config import ContoursConfig, DialogueConfig, TransformerConfig
from mmperson.errors import ConfigError
from mmperson.exporting.graph import export_graph
from mmperson.exporting.wrapper import EncoderGraph, Part
from mmperson.models.encoders.contours import ContourEncoder
from mmperson.models.encoders.dialogue import DialogueEncoder
from mmperson.models.encoders.text import TextEncoder, text_weights_folder
from mmperson.models.layers.lora import LowRank
from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.collate import collate
from mmperson.preprocessing.spec import DialogueSpec, InputSpec, TextSpec
from mmperson.preprocessing.text.encode import load_tokenizer


def encoder(weights: Path, **options) -> TextEncoder:
    return TextEncoder(
        TransformerConfig(weights=str(weights), **options), TextSpec(tokenizer_sha256="")
    )


def test_states_are_the_chosen_layers_side_by_side(tiny_text_weights):
    both = encoder(tiny_text_weights, layers=(0, 2)).eval()
    last = encoder(tiny_text_weights, layers=(2,)).eval()
    ids, mask = torch.tensor([[101, 2023, 102]]), torch.ones(1, 3)
    states = both.states(ids, mask)
    assert states.shape == (1, 3, 32)
    torch.testing.assert_close(states[..., 16:], last.states(ids, mask))


def test_tokens_are_principal_components(tiny_text_weights, monkeypatch):
    network = encoder(tiny_text_weights, layers=(0, 2), dim=8).eval()
    states = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(network, "pooled_states", lambda *_: states)
    network.fit([(None, None, None)])
    components = (states - network.mean) @ network.basis
    assert components.shape == (50, 8)
    covariance = components.T @ components / 49
    torch.testing.assert_close(covariance, covariance.diagonal().diag(), atol=1e-3, rtol=0)
    assert (covariance.diagonal().diff() <= 1e-3).all()


@pytest.mark.parametrize(("trainable", "learning"), [(0, set()), (1, {"1"}), (2, {"0", "1"})])
def test_only_the_upper_layers_learn(tiny_text_weights, trainable, learning):
    network = encoder(tiny_text_weights, layers=(2,), trainable_layers=trainable)
    names = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert all(name.startswith("backbone.encoder.layer.") for name in names)
    assert {name.split(".")[3] for name in names} == learning


def test_a_frozen_encoder_has_no_dropout_in_training(tiny_text_weights):
    network = encoder(tiny_text_weights, layers=(2,)).train()
    ids, mask = torch.tensor([[101, 2023, 102]]), torch.ones(1, 3)
    assert torch.equal(network(ids, mask).values, network(ids, mask).values)


@pytest.mark.parametrize("options", [{"layers": (3,)}, {"layers": (0,), "trainable_layers": 3}])
def test_layers_that_do_not_exist_are_refused(tiny_text_weights, options):
    with pytest.raises(ConfigError, match="layers"):
        encoder(tiny_text_weights, **options)


def test_a_folder_without_weights_is_refused_with_what_it_lacks(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"lacks model.safetensors, tokenizer.json"):
        text_weights_folder(str(tmp_path))


def test_a_prompt_gives_one_token_that_follows_what_comes_behind_it(tiny_text_weights):
    spec = TextSpec(tokenizer_sha256="", prompts=("say it", "tell me more"))
    config = TransformerConfig(weights=str(tiny_text_weights), layers=(2,), prompt="psychology")
    network = TextEncoder(config, spec).eval()
    tokenizer = load_tokenizer(tiny_text_weights / "tokenizer.json")
    ids = spec.encode("the river", tokenizer)
    batch = collate([ClipInputs(text=ids)], InputSpec(text=spec))
    x, mask = torch.from_numpy(batch["text"]), torch.from_numpy(batch["text_mask"])
    tokens = network.features(x, mask)
    assert tokens.values.shape == (1, 2, network.dim)
    states = network.states(x[0], mask[0])
    # [CLS] say it the river [SEP], and [CLS] tell me more the river [SEP]
    expected = torch.stack([states[0, 3:6].mean(dim=0), states[1, 4:7].mean(dim=0)])
    torch.testing.assert_close(tokens.values[0], (expected - network.mean) @ network.basis)


def test_low_rank_updates_start_at_nothing_and_are_all_that_learns(tiny_text_weights):
    torch.manual_seed(0)
    plain = encoder(tiny_text_weights, layers=(2,)).eval()
    tuned = encoder(tiny_text_weights, layers=(2,), lora_rank=2).eval()
    ids, mask = torch.tensor([[101, 2023, 102]]), torch.ones(1, 3)
    torch.testing.assert_close(tuned.states(ids, mask), plain.states(ids, mask))
    learning = [name for name, weight in tuned.named_parameters() if weight.requires_grad]
    assert len(learning) == 2 * 2 * 2
    assert all(name.endswith((".down", ".up")) for name in learning)
    assert not tuned.frozen


def test_a_language_model_sees_what_came_before(tiny_language_model):
    network = encoder(tiny_language_model, layers=(0, 2)).eval()
    ids, mask = torch.tensor([[101, 2023, 2025, 102]]), torch.ones(1, 4)
    before = network.states(ids, mask)
    ids[0, 2] = 3000
    after = network.states(ids, mask)
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert (after[:, 3, 16:] - before[:, 3, 16:]).abs().max() > 1e-4
    reference = LlamaForCausalLM.from_pretrained(tiny_language_model).eval()
    expected = reference(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(after[..., 16:], expected[2], atol=1e-4, rtol=1e-4)


def test_the_first_token_of_a_language_model_is_left_out(tiny_language_model):
    network = encoder(tiny_language_model, layers=(2,)).eval()
    ids, mask = (
        torch.tensor([[7, 8, 9, 0], [7, 0, 0, 0]]),
        torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0]]),
    )
    states = network.states(ids, mask)
    tokens = network.features(ids, mask)
    assert tokens.mask.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    expected = (states - network.mean) @ network.basis
    torch.testing.assert_close(tokens.values[0, :2], expected[0, 1:3])
    torch.testing.assert_close(tokens.values[1, 0], expected[1, 0])  # All there is.
    pooled = torch.stack([states[0, 1:3].mean(dim=0), states[1, 0]])
    torch.testing.assert_close(network.pooled_states(ids, mask), pooled)


def test_weights_in_half_precision_are_read_in_full(
    tmp_path, tiny_language_model, tiny_text_weights
):
    LlamaForCausalLM.from_pretrained(tiny_language_model).bfloat16().save_pretrained(tmp_path)
    shutil.copyfile(tiny_text_weights / "tokenizer.json", tmp_path / "tokenizer.json")
    network = encoder(tmp_path, layers=(2,))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


SMALL = {"vocab_size": 2000, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
         "num_attention_heads": 1, "pad_token_id": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (lambda: ModernBertModel(ModernBertConfig(**SMALL)), {}, "ModernBertModel"),
        (lambda: Phi3Model(Phi3Config(**SMALL)), {"lora_rank": 2}, "no linear layer"),
        (lambda: BertModel(BertConfig(**SMALL, max_position_embeddings=16)), {}, "for 16 tokens"),
        (lambda: RobertaModel(RobertaConfig(**SMALL, max_position_embeddings=16)), {}, "15 tokens"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    tmp_path, tiny_text_weights, network, options, message
):
    network().save_pretrained(tmp_path)
    shutil.copyfile(tiny_text_weights / "tokenizer.json", tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match=message):
        encoder(tmp_path, layers=(1,), **options)


def test_weights_of_another_shape_are_refused(tmp_path, tiny_text_weights):
    shutil.copytree(tiny_text_weights, tmp_path, dirs_exist_ok=True)
    shape = BertConfig.from_pretrained(tmp_path)
    shape.intermediate_size = 48
    shape.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"48, 16"):
        encoder(tmp_path, layers=(2,))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "prompts", "options"),
    [
        (lambda: BertModel(BertConfig(**SMALL)), ("say it", "tell me more"), {}),
        (lambda: BertModel(BertConfig(**SMALL)), (), {"name": "contours", "window": 4, "step": 2}),
        (lambda: LlamaModel(LlamaConfig(**SMALL)), (), {"lora_rank": 2}),
        (lambda: LlamaModel(LlamaConfig(**SMALL)), ("say it", "tell me more"), {}),
        (lambda: BertModel(BertConfig(**SMALL)), (), {"name": "dialogue"}),
        (lambda: RobertaModel(RobertaConfig(**SMALL)), (), {"name": "dialogue"}),
        (lambda: LlamaModel(LlamaConfig(**SMALL)), (), {"name": "dialogue"}),
    ],
    ids=[
        "prompts",
        "contours",
        "low_rank",
        "language_model_prompts",
        "dialogue",
        "dialogue_roberta",
        "dialogue_language_model",
    ],
)
def test_graphs_say_what_the_network_says(tmp_path, tiny_text_weights, backbone, prompts, options):
    torch.manual_seed(0)
    backbone().save_pretrained(tmp_path)
    shutil.copyfile(tiny_text_weights / "tokenizer.json", tmp_path / "tokenizer.json")
    options = {"weights": str(tmp_path), "layers": (1,), **options}
    spec = TextSpec(tokenizer_sha256="", prompts=prompts)
    if options.get("name") == "dialogue":
        spec = DialogueSpec(tokenizer_sha256="", marker=1500)
        network = DialogueEncoder(DialogueConfig(**options), spec).eval()
    elif "name" in options:
        network = ContourEncoder(ContoursConfig(**options), spec).eval()
    else:
        network = TextEncoder(TransformerConfig(**options), spec).eval()
    for update in (module for module in network.modules() if isinstance(module, LowRank)):
        torch.nn.init.normal_(update.up)  # At first it would be nothing, and so say nothing.
    rows = (len(prompts),) if prompts else ()
    ids = torch.randint(1, 2000, (2, *rows, 9))
    axes = {0: "batch", ids.ndim - 1: "token"}
    part = Part(
        EncoderGraph(network),
        {"text": ids, "text_mask": torch.ones(ids.shape)},
        {"text": axes, "text_mask": axes},
        ("tokens", "mask"),
    )
    session = onnxruntime.InferenceSession(export_graph(part, {}).SerializeToString())
    x = torch.randint(1, 2000, (3, *rows, 6))
    mask = torch.ones(x.shape)
    mask[1, ..., 5:] = 0
    mask[2, ..., 1:] = 0
    found = session.run(None, {"text": x.numpy(), "text_mask": mask.numpy()})
    with torch.no_grad():
        expected = network(x, mask)
    for given, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(given), wanted, atol=1e-4, rtol=1e-4)


def test_where_nothing_follows_a_prompt_all_of_it_is_read(tiny_text_weights):
    spec = TextSpec(tokenizer_sha256="", prompts=("say it",))
    config = TransformerConfig(weights=str(tiny_text_weights), layers=(2,), prompt="psychology")
    network = TextEncoder(config, spec).eval()
    x, mask = torch.tensor([[[101, 2360, 0]]]), torch.tensor([[[1.0, 1, 0]]])
    expected = network.states(x[0], mask[0])[:, :2].mean(dim=1)
    torch.testing.assert_close(network.pooled_states(x, mask), expected)
