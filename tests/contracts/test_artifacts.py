"""What mmperson loads and writes: nothing that can run code, nothing beside the checked bytes."""

import ast
import os
import re
import stat
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import mmperson
from mmperson.errors import BundleCorrupt, MediaTooLarge
from mmperson.files import write_folder
from mmperson.inference.session import Session
from tests.fixtures.canary import Canaries

PACKAGE = Path(mmperson.__file__).parent
CALLS = [
    (path.relative_to(PACKAGE).as_posix(), node)
    for path in sorted(PACKAGE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]
# Each runs what a file says, follows what an archive names, or has a name that others foresee.
NEVER = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "pickle.load", "pickle.loads"),
    *("joblib.load", "dill.load", "marshal.load", "marshal.loads", "shelve.open"),
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("yaml.unsafe_load", "yaml.full_load", "zipfile.ZipFile", "tarfile.open"),
    *("shutil.unpack_archive", "ort.SessionOptions.register_custom_ops_library"),
}


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def keywords(call: ast.Call) -> dict[str, str]:
    return {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}


def test_nothing_that_runs_what_a_file_says_is_called():
    assert len(CALLS) > 1000
    assert not [(path, name_of(call)) for path, call in CALLS if name_of(call) in NEVER]
    odd = (".extractall", ".extract", ".unpickle", ".mktemp", ".register_custom_ops_library")
    assert not [(path, name_of(call)) for path, call in CALLS if name_of(call).endswith(odd)]


def test_calls_that_can_be_dangerous_are_made_safely():
    for path, call in CALLS:
        name, words = name_of(call), keywords(call)
        if name in ("np.load", "np.save", "numpy.load"):
            assert words.get("allow_pickle") == "False", path
        if re.fullmatch(r"subprocess\.\w+", name):
            assert "shell" not in words, path
            assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr), path
        if name == "onnx.load":
            assert path.startswith("exporting/"), path  # what it has just written itself
        if name == "yaml.load":
            assert path == "config/strict_yaml.py"
        assert words.get("trust_remote_code", "False") == "False", path


def test_pickles_are_imported_nowhere():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
            names.append(getattr(node, "module", None) or "")
            assert not {"pickle", "dill", "joblib", "marshal", "shelve"} & set(names), path


@pytest.mark.parametrize("place", ["../weights.bin", "weights.bin", "absolute", "link.bin"])
def test_weights_outside_of_a_graph_are_never_read(tmp_path, monkeypatch, place):
    """The graph is loaded from bytes, so that no place is relative to anything but this folder."""
    (tmp_path / "here").mkdir()
    target = tmp_path / ("here/weights.bin" if place == "weights.bin" else "weights.bin")
    target.write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "here" / "link.bin").symlink_to(target)
    weights = onnx.numpy_helper.from_array(np.ones(4, np.float32), "weights")
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", str(target) if place == "absolute" else place), ("length", 16)):
        weights.external_data.add(key=key, value=str(value))
    shape = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4])
    node = onnx.helper.make_node("Add", ["x", "weights"], ["y"])
    answer = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    graph = onnx.helper.make_graph([node], "graph", [shape], [answer], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    monkeypatch.chdir(tmp_path / "here")
    canaries = Canaries(target)
    try:
        with canaries.watched() as found, pytest.raises(BundleCorrupt, match=r"g\.onnx"):
            Session(model.SerializeToString(), "g.onnx", "0" * 64, 1)
    finally:
        canaries.close()
    assert found == set()


def test_a_graph_that_asks_for_much_is_an_error_and_prints_nothing(capfd):
    size = onnx.helper.make_tensor("size", onnx.TensorProto.INT64, [1], [1 << 40])
    clear = "clear\x1b[2J"
    nodes = [
        onnx.helper.make_node("Constant", [], ["size"], value=size),
        onnx.helper.make_node("ConstantOfShape", ["size"], ["y"], name=clear),
    ]
    answer = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n"])
    graph = onnx.helper.make_graph(nodes, "graph", [], [answer])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.metadata_props.add(key="mmperson.spec_hash", value="0" * 64)
    with pytest.raises(MediaTooLarge, match=r"not enough memory to run g\.onnx"):
        Session(model.SerializeToString(), "g.onnx", "0" * 64, 1).run({})
    assert capfd.readouterr() == ("", "")


def test_an_unfinished_bundle_is_private(tmp_path):
    modes = []

    def replaceable(out: Path) -> None:
        (beside,) = (path for path in tmp_path.iterdir() if path.name.startswith(".bundle-"))
        modes.append(stat.S_IMODE(beside.stat().st_mode))

    before = os.umask(0)
    try:
        write_folder(tmp_path / "bundle", {"a.txt": b"a"}, replaceable)
    finally:
        os.umask(before)
    assert modes == [0o700]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    with tempfile.TemporaryDirectory() as folder:
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
