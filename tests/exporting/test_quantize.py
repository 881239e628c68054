import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.config import FramesConfig
from mmperson.datasets import read_manifest
from mmperson.datasets.dataset import ClipDataset
from mmperson.errors import ExportError, ParityExceeded
from mmperson.exporting import bundle as module
from mmperson.exporting import export_run, quality
from mmperson.exporting.graph import HALF_OPSET, export_graph
from mmperson.exporting.parity import check_parity
from mmperson.exporting.quantize import convert, to_fp16
from mmperson.exporting.wrapper import encoder_part
from mmperson.inference.predictor import load
from mmperson.inference.session import Session
from mmperson.models.encoders.frames import FramesEncoder
from mmperson.preprocessing import FrameSpec
from mmperson.preprocessing.text.encode import load_tokenizer

pytestmark = pytest.mark.slow  # each converts graphs, and most export


@pytest.fixture(scope="module")
def rows(trained, tiny_run, manifest_file):
    tokenizer = load_tokenizer(tiny_run / "tokenizer.json")
    return ClipDataset.prepare(
        read_manifest(manifest_file).where_split("train"), trained.spec, tokenizer
    )


@pytest.fixture
def known(graphs, monkeypatch):
    """Exports take the graphs that were made before, which saves most of their time."""

    def taken(part, facts, opset):
        name = "fusion" if part.outputs == ("scores",) else "encoder_" + part.outputs[0][:-7]
        return graphs[name]

    monkeypatch.setattr(module, "export_graph", taken)


def kinds(graph):
    return {node.op_type for node in graph.graph.node}


@pytest.mark.slow
def test_fp16_graphs_take_and_give_what_they_did(graphs, rows):
    before = {name: graph.SerializeToString() for name, graph in graphs.items()}
    converted = list(convert(graphs, "fp16", rows))
    assert [(name, kind) for name, kind, _ in converted] == [(name, "fp16") for name in graphs]
    for name, _, graph in converted:
        assert list(graph.graph.input) == list(graphs[name].graph.input)
        assert list(graph.graph.output) == list(graphs[name].graph.output)
        assert onnx.TensorProto.FLOAT16 in {x.data_type for x in graph.graph.initializer}
        assert list(graph.metadata_props) == list(graphs[name].metadata_props)
    assert before == {name: graph.SerializeToString() for name, graph in graphs.items()}


@pytest.fixture(scope="module")
def pictures():
    """The graph of a small vision transformer, which attends, and what it is to say."""
    torch.manual_seed(0)
    config = FramesConfig(backbone="test_vit", frames=2, size=32, dim=16)
    spec = FrameSpec(count=2, short_side=32, height=32, width=32)
    encoder = FramesEncoder(config, spec, pretrained=False).eval()
    frames = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    example = {"video": frames, "video_mask": torch.ones(2, 2)}
    with torch.inference_mode():
        expected = encoder(*example.values())
    inputs = {name: array.numpy() for name, array in example.items()}
    return encoder_part("video", encoder, example), inputs, [x.numpy() for x in expected]


@pytest.mark.slow
def test_fp16_graphs_attend_by_one_operator_and_run_on_the_cpu_too(pictures):
    part, inputs, expected = pictures
    graph = to_fp16(export_graph(part, {"mmperson.spec_hash": "x"}, HALF_OPSET))
    count = [node.op_type for node in graph.graph.node].count("Attention")
    blocks = len(part.module.encoder.backbone.blocks)
    assert count == blocks  # what the frames do among each other is written out
    session = Session(graph.SerializeToString(), "video", "x", threads=1)
    said = session.run(inputs)
    for name, wanted in zip(part.outputs, expected, strict=True):
        array = said[name].numpy()
        np.testing.assert_allclose(array, wanted, atol=0.02 * np.abs(wanted).max())


@pytest.mark.parametrize("precision", ["int8", "int8-static"])
def test_converting_gives_the_user_no_advice(graphs, rows, precision, caplog):
    assert list(convert(graphs, precision, rows))
    assert not caplog.records


def test_static_int8_has_scales_for_the_products_of_sound(graphs, rows):
    converted = {name: (kind, graph) for name, kind, graph in convert(graphs, "int8-static", rows)}
    assert {name: kind for name, (kind, _) in converted.items()} == {
        "encoder_audio": "int8-static",
        "encoder_text": "int8",
    }
    assert "QuantizeLinear" in kinds(converted["encoder_audio"][1])
    assert "DynamicQuantizeLinear" in kinds(converted["encoder_text"][1])


def test_without_a_row_that_has_sound_it_stays_fp32(graphs, rows):
    silent = np.flatnonzero(rows.present[:, 1] == 0)
    assert len(silent) == 1
    names = [name for name, *_ in convert(graphs, "int8-static", rows.select(silent))]
    assert names == ["encoder_text"]


@pytest.mark.slow
@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("precision", ["fp16", "int8-static", "fp32"])
def test_a_bundle_says_the_precision_of_its_graphs(
    precision, tiny_run, manifest_file, demo, tmp_path
):
    manifest = read_manifest(manifest_file)
    info = export_run(tiny_run, tmp_path / "b", manifest, precision=precision)
    wanted = {
        "fp16": dict.fromkeys(info.precision, "fp16"),
        "int8-static": {
            "encoder_audio": "int8-static", "encoder_text": "int8", "fusion": "fp32"
        },
        "fp32": dict.fromkeys(info.precision, "fp32"),
    }[precision]  # fmt: skip
    assert info.precision == wanted
    assert info.opset == (23 if precision == "fp16" else 20)
    assert set(info.parity) == {"fp32", precision}
    assert info.parity[precision] < 0.05
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"encoder_audio.onnx: {wanted['encoder_audio']}" in card
    assert card.count("as shipped, scores differ") == 1
    record = load(tmp_path / "b").predict(demo)
    assert record.error is None
    assert record.engine.precision == wanted


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_opset_that_a_bundle_states_is_that_of_its_graphs(
    precision, tiny_run, manifest_file, tmp_path
):
    manifest = read_manifest(manifest_file)
    info = export_run(tiny_run, tmp_path / "b", manifest, precision=precision)
    assert info.opset == (23 if precision == "fp16" else 20)
    assert info.parity["fp32"] < 1e-4
    for path in (tmp_path / "b").glob("*.onnx"):
        (opset,) = (x.version for x in onnx.load(path).opset_import if x.domain == "")
        assert opset == info.opset
    load(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_a_graph_that_would_say_something_else_stays_fp32(
    tiny_run, manifest_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "MAX_DIFFERENCE", 0.0)
    info = export_run(tiny_run, tmp_path / "b", read_manifest(manifest_file), precision="fp16")
    assert set(info.precision.values()) == {"fp32"}
    assert set(info.parity) == {"fp32"}


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_a_converted_graph_that_cannot_be_run_stays_fp32(
    tiny_run, manifest_file, tmp_path, monkeypatch
):
    def broken(graphs, precision, rows):
        for name, kind, graph in convert(graphs, precision, rows):
            if name == "fusion":
                del graph.graph.node[0]
            yield name, kind, graph

    monkeypatch.setattr(module, "convert", broken)
    info = export_run(tiny_run, tmp_path / "b", read_manifest(manifest_file), precision="fp16")
    assert info.precision == {"encoder_audio": "fp16", "encoder_text": "fp16", "fusion": "fp32"}


class NotANumber:
    """A fusion that overflows."""

    def run(self, inputs):
        rows = len(inputs["present"])
        scores = np.full((rows, 5), np.nan, dtype=np.float32)
        return {"scores": ort.OrtValue.ortvalue_from_numpy(scores)}


def test_scores_that_are_no_numbers_do_not_pass_the_gate(trained, graphs, rows):
    sessions = {
        name: Session(graph.SerializeToString(), name, trained.spec.hash, threads=1)
        for name, graph in graphs.items()
    }
    with pytest.raises(ParityExceeded, match="nan"):
        check_parity(trained.network, sessions | {"fusion": NotANumber()}, rows)


@pytest.fixture
def export(tiny_run, manifest_file, tmp_path):
    arguments = ["export", tiny_run, "--out", tmp_path / "b", "--data", manifest_file]
    return lambda *more: CliRunner().invoke(
        app, [str(word) for word in (*arguments, *more)], catch_exceptions=False
    )


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_static_int8_is_calibrated_on_training_rows(export, tmp_path, monkeypatch):
    calibrated = []

    def watched(graphs, precision, rows):
        calibrated.extend(rows.sample_id)
        return convert(graphs, precision, rows)

    monkeypatch.setattr(module, "convert", watched)
    assert export("--precision", "int8-static").exit_code == 0
    assert len(calibrated) == 32
    assert max(calibrated) == "clip035"  # The last of the training rows.
    info = json.loads((tmp_path / "b" / "bundle.json").read_text(encoding="utf-8"))
    assert info["metrics"]["validation, official"]["n"] == 12


@pytest.mark.slow
@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_precision_that_costs_accuracy_is_refused(export, precision, monkeypatch, tmp_path):
    monkeypatch.setattr(quality, "MAX_ACCURACY_LOSS", -1.0)
    with pytest.raises(ExportError, match="Export with --precision fp32"):
        export("--precision", precision)
    assert not (tmp_path / "b").exists()
