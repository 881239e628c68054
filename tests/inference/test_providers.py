import json
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

import mmperson
from mmperson.cli.app import app
from mmperson.errors import UnknownComponent, UsageError
from mmperson.inference import providers as engine
from mmperson.inference.bundle import open_bundle
from mmperson.inference.fingerprint import fingerprint
from mmperson.inference.predictor import load
from mmperson.inference.scoring import Job, ScoringWorkload
from mmperson.inference.session import Session
from mmperson.pool.worker_pool import WorkerLimits, imap_unordered
from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.collate import collate

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def without_cuda(monkeypatch):
    """An ONNX Runtime that has the CPU alone."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])


class FellBack:
    """A session that was to run on a GPU and silently got the CPU."""

    asked = ()

    def __init__(self, graph, options, providers):
        type(self).asked = providers

    def get_providers(self):
        return [CPU]


@pytest.fixture
def listed(monkeypatch):
    """An ONNX Runtime that lists CUDA and cannot start it."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtX", CUDA, CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "InferenceSession", FellBack)


@pytest.fixture(scope="module")
def sessions(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    return bundle.info.spec, {
        name.removesuffix(".onnx"): Session(data, name, bundle.info.spec_hash, 1)
        for name, data in bundle.files.items()
        if name.endswith(".onnx")
    }


def test_a_misspelt_provider_is_named(tiny_bundle):
    with pytest.raises(UnknownComponent, match="Did you mean 'cuda'"):
        load(tiny_bundle, provider="cudaa")


@pytest.mark.usefixtures("without_cuda")
def test_a_provider_that_is_not_installed_says_what_to_install(tiny_bundle, demo):
    wanted = "has no provider 'cuda'; it has cpu. Install onnxruntime-gpu instead"
    with pytest.raises(UsageError, match=wanted):
        load(tiny_bundle, provider="cuda")
    with pytest.raises(UsageError, match=wanted):
        next(mmperson.predict_many([demo], bundle=tiny_bundle, provider="cuda"))
    arguments = ["predict", str(demo), "--bundle", str(tiny_bundle), "--provider", "cuda"]
    with pytest.raises(UsageError, match=wanted):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.usefixtures("listed")
def test_a_listed_provider_that_falls_back_to_the_cpu_is_refused(tiny_bundle):
    assert engine.available() == ["cpu", "cuda"]
    with pytest.raises(UsageError, match=f"'cuda' is listed and cannot start .* use {CPU}"):
        load(tiny_bundle, provider="cuda")
    ((name, options),) = FellBack.asked
    assert (name, options["use_tf32"]) == (CUDA, "0")


def test_tokens_stay_where_they_were_computed(sessions):
    spec, graphs = sessions
    inputs = ClipInputs(text=np.array([101, 2023, 102]), audio=np.ones(26, dtype=np.float32))
    batch = collate([inputs], spec) | {"present": np.ones((1, 3), dtype=np.float32)}
    tokens = graphs["encoder_text"].run(batch) | graphs["encoder_audio"].run(batch)
    assert all(isinstance(value, ort.OrtValue) for value in tokens.values())
    direct = graphs["fusion"].run({**batch, **tokens})["scores"].numpy()
    arrays = {name: value.numpy() for name, value in tokens.items()}
    np.testing.assert_array_equal(direct, graphs["fusion"].run(batch | arrays)["scores"].numpy())


class OnDevice:
    """What lies on a GPU; somebody who wants it as an array fetches it."""

    fetched: ClassVar = []

    def __init__(self, name, value):
        self.name, self.value = name, value

    def numpy(self):
        self.fetched.append(self.name)
        return self.value.numpy()


class FakeBinding:
    """Says where outputs were bound to and what came from where, and computes on the CPU."""

    def __init__(self, session):
        self.session, self.binding = session, session.real.io_binding()

    def bind_ortvalue_input(self, name, value):
        self.session.inputs[name] = value
        self.binding.bind_ortvalue_input(name, getattr(value, "value", value))

    def bind_output(self, name, device):
        self.session.outputs[name] = device
        self.binding.bind_output(name, "cpu")

    def get_outputs(self):
        return list(map(OnDevice, self.session.outputs, self.binding.get_outputs()))


class OnGpu:
    """A session that CUDA runs."""

    made: ClassVar = []
    real_one = ort.InferenceSession

    def __init__(self, graph, options, providers):
        self.real, self.inputs, self.outputs = self.real_one(graph, options), {}, {}
        self.made.append(self)

    def __getattr__(self, name):
        return getattr(self.real, name)

    def get_providers(self):
        return [CUDA, CPU]

    def io_binding(self):
        return FakeBinding(self)

    def run_with_iobinding(self, bound):
        self.real.run_with_iobinding(bound.binding)


def test_a_gpu_hands_tokens_to_its_fusion_and_scores_alone_to_us(tiny_bundle, demo, monkeypatch):
    loaded = []
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda: loaded.append("CUDA"))
    monkeypatch.setattr(ort, "InferenceSession", OnGpu)
    made, fetched = [], []
    monkeypatch.setattr(OnGpu, "made", made)
    monkeypatch.setattr(OnDevice, "fetched", fetched)
    predictor = load(tiny_bundle, provider="cuda")
    record = predictor.predict(demo, "I love maps.")
    monkeypatch.undo()
    assert loaded == ["CUDA"] * 3
    assert record.engine.provider == "cuda"
    assert record.scores == load(tiny_bundle).predict(demo, "I love maps.").scores
    (fusion,) = (session for session in made if "scores" in session.outputs)
    for session in made:
        assert set(session.outputs.values()) == {"cuda"}
    tokens = {name: value for name, value in fusion.inputs.items() if name != "present"}
    assert set(tokens) == {
        "audio_tokens", "audio_tokens_mask", "text_tokens", "text_tokens_mask"
    }  # fmt: skip
    assert all(isinstance(value, OnDevice) for value in tokens.values())
    assert fetched == ["scores"]


def test_an_array_need_not_lie_in_one_piece(sessions):
    _, graphs = sessions
    wide = np.random.default_rng(0).normal(size=(1, 52)).astype(np.float32)
    mask = np.ones((1, 26), dtype=np.float32)
    answers = [
        graphs["encoder_audio"].run({"audio": sound, "audio_mask": mask})["audio_tokens"].numpy()
        for sound in (wide[:, ::2], wide[:, ::2].copy())
    ]
    np.testing.assert_array_equal(*answers)


def test_a_record_says_what_computed_it(tiny_bundle, demo, tmp_path):
    bundle = open_bundle(tiny_bundle)
    told = {"provider": "cpu", "precision": bundle.info.precision}
    assert told["precision"]["encoder_text"] == "int8"
    assert load(tiny_bundle).predict(demo).to_dict()["engine"] == told
    jobs = [Job(str(demo)), Job(str(tmp_path / "missing.mp4"))]
    for _, record in imap_unordered(ScoringWorkload(bundle), jobs, WorkerLimits(workers=1)):
        assert record.to_dict()["engine"] == told
    arguments = ["predict", str(demo), "--bundle", str(tiny_bundle), "--provider", "cpu"]
    assert json.loads(CliRunner().invoke(app, arguments).stdout)["engine"] == told


def test_the_provider_is_part_of_the_fingerprint(tiny_bundle, demo):
    bundle = open_bundle(tiny_bundle)
    prints = {fingerprint(bundle, str(demo), None, ("exact", name)) for name in engine.PROVIDERS}
    assert len(prints) == 2
    assert load(tiny_bundle).predict(demo).fingerprint in prints


def test_a_provider_that_is_listed_runs_a_tiny_graph_or_says_why_not(monkeypatch):
    sizes = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", sizes[:1], sizes[1:])
    opset = [onnx.helper.make_opsetid("", 13)]
    assert onnx.load_from_string(engine._TINY) == onnx.helper.make_model(
        graph, opset_imports=opset, ir_version=8
    )
    assert engine.probe("cpu") is None
    monkeypatch.setattr(engine, "_TINY", b"no graph")
    assert "INVALID_PROTOBUF" in engine.probe("cpu")


@pytest.mark.usefixtures("listed")
def test_a_listed_provider_that_falls_back_does_not_run_a_tiny_graph():
    assert "'cuda' is listed and cannot start" in engine.probe("cuda")
