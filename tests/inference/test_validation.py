import importlib.util
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from mmperson.errors import BundleCorrupt, MissingExtra
from mmperson.inference.bundle import open_bundle
from mmperson.inference.predictor import Predictor, load
from mmperson.inference.validation import validate_graphs
from mmperson.preprocessing import InputSpec, LibrosaSpec
from tests.inference.test_predictor import changed


def edited(content, *nodes, output="scores", **constants):
    """Return a graph whose output goes through more nodes, from ``whole`` to its name."""
    model = onnx.load_from_string(content)
    for node in model.graph.node:
        node.output[:] = ["whole" if name == output else name for name in node.output]
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    model.graph.node.extend(nodes)
    return model


ADD = onnx.helper.make_node("Add", ["whole", "much"], ["scores"])
ADD_TOKENS = onnx.helper.make_node("Add", ["whole", "much"], ["text_tokens"])


@pytest.mark.parametrize("much", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_those_of_a_corrupt_bundle(tiny_bundle, demo, much):
    files = open_bundle(tiny_bundle).files
    for graph, name, node, output in (
        ("fusion", "fusion__onnx", ADD, "scores"),
        ("encoder_text", "encoder_text__onnx", ADD_TOKENS, "text_tokens"),
    ):
        model = edited(files[f"{graph}.onnx"], node, output=output, much=np.float32(much))
        record = Predictor(changed(tiny_bundle, **{name: model.SerializeToString()})).predict(demo)
        assert record.scores is None
        assert record.error.type == "BundleCorrupt"
        assert record.error.message.startswith(f"{graph}.onnx returns NaN or infinity")


def test_scores_must_be_floats_with_two_axes(tiny_bundle):
    whole = open_bundle(tiny_bundle).files["fusion.onnx"]
    cast = onnx.helper.make_node("Cast", ["whole"], ["scores"], to=onnx.TensorProto.STRING)
    text = edited(whole, cast)
    text.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.STRING
    squeeze = onnx.helper.make_node("Squeeze", ["whole", "axes"], ["scores"])
    flat = edited(whole, squeeze, axes=[0])
    del flat.graph.output[0].type.tensor_type.shape.dim[0]
    total = onnx.helper.make_node("ReduceSum", ["whole"], ["scores"], keepdims=0)
    single = edited(whole, total)
    del single.graph.output[0].type.tensor_type.shape.dim[:]
    for model, problem in (
        (text, r"tensor\(string\) of shape"),
        (flat, r"of shape \(5,\)"),
        (single, r"of shape \(\)"),
    ):
        broken = changed(tiny_bundle, fusion__onnx=model.SerializeToString())
        with pytest.raises(BundleCorrupt, match=rf"fusion\.onnx returns scores as .*{problem}"):
            Predictor(broken)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (
            ("batch", 4),
            r"of shape \('batch', 4\); float of shape \(batch, token, dim\)",
        ),
        (("batch", 0, 8), "1 to 16,777,216 numbers"),
        (("batch", 1 << 40, 8), "1 to 16,777,216 numbers"),
        ((None, "token", 1 << 25), "1 to 16,777,216 numbers"),
    ],
)
def test_tokens_must_be_few_floats_with_three_axes(tiny_bundle, shape, problem):
    predictor = load(tiny_bundle)
    outputs = {"audio_tokens": shape, "audio_tokens_mask": ("batch", "token")}
    read = {"audio": ("batch", 26), "audio_mask": ("batch", 26)}
    kinds = dict.fromkeys([*read, *outputs], "tensor(float)")
    odd = SimpleNamespace(name="encoder_audio.onnx", inputs=read, outputs=outputs, types=kinds)
    sessions = predictor._sessions | {"encoder_audio": odd}
    with pytest.raises(
        BundleCorrupt, match=rf"encoder_audio\.onnx returns audio_tokens .*{problem}"
    ):
        validate_graphs(predictor.bundle.info, sessions)
    odd.outputs = outputs | {"audio_tokens": (None, "token", 8)}
    validate_graphs(predictor.bundle.info, sessions)


def test_a_bundle_that_needs_an_extra_says_so_when_it_is_opened(tiny_bundle, monkeypatch):
    info = load(tiny_bundle).bundle.info
    needy = InputSpec(audio=LibrosaSpec(features=("rms",)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="librosa"):
        validate_graphs(info.model_copy(update={"spec": needy}), {})


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("tensor(uint8)", ("batch", 26)),
        ("tensor(float)", ("batch", 25)),
        ("tensor(float)", ("batch", 26, 1)),
        ("tensor(float)", ()),
    ],
)
def test_a_graph_must_read_what_is_prepared_for_it(tiny_bundle, kind, shape):
    predictor = load(tiny_bundle)
    real = predictor._sessions["encoder_audio"]
    read, kinds = {**real.inputs, "audio": shape}, {**real.types, "audio": kind}
    odd = SimpleNamespace(name=real.name, inputs=read, outputs=real.outputs, types=kinds)
    with pytest.raises(BundleCorrupt, match=r"reads audio as .* \(batch, 26\) is prepared"):
        validate_graphs(predictor.bundle.info, predictor._sessions | {"encoder_audio": odd})


def test_what_a_graph_declares_must_be_what_it_gives(tiny_bundle, demo):
    whole = open_bundle(tiny_bundle).files["fusion.onnx"]
    twice = onnx.helper.make_node("Concat", ["whole", "whole"], ["scores"], axis=0)
    model = edited(whole, twice).SerializeToString()
    record = Predictor(changed(tiny_bundle, fusion__onnx=model)).predict(demo)
    assert "returns scores of shape (2, 5) for a clip, not (1, 5)" in record.error.message
