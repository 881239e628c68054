import json
import os
import pkgutil
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mmperson.errors import (
    BundleCorrupt,
    BundleError,
    BundleIncompatible,
    BundleNotFound,
    UsageError,
)
from mmperson.inference.bundle import (
    DEFAULT_BUNDLE,
    INFO_FILE,
    MAX_INFO_BYTES,
    find_bundle,
    open_bundle,
)
from mmperson.preprocessing.spec import FrameSpec
from mmperson.traits import TRAITS


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def rewrite(folder, **changes):
    info = json.loads((folder / INFO_FILE).read_text())
    (folder / INFO_FILE).write_text(json.dumps(info | changes))


FILES = (
    "encoder_audio.onnx",
    "encoder_text.onnx",
    "fusion.onnx",
    "tokenizer.json",
    "MODEL_CARD.md",
    "LICENSE.txt",
)


def test_a_whole_bundle_opens(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    assert set(bundle.info.files) == set(FILES)
    assert bundle.info.modalities == ("audio", "text")
    assert bundle.info.precision["encoder_text"] == "int8"
    assert bundle.info.parity["fp32"] <= 1e-4


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleCorrupt, match=name):
        open_bundle(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleCorrupt, match=name):
        open_bundle(copy)


def test_a_file_too_many_is_refused(copy):
    (copy / "extra.onnx").write_bytes(b"")
    with pytest.raises(BundleCorrupt, match=r"extra\.onnx"):
        open_bundle(copy)


def test_a_link_is_refused(copy, tmp_path):
    shutil.move(copy / "fusion.onnx", tmp_path / "fusion.onnx")
    (copy / "fusion.onnx").symlink_to(tmp_path / "fusion.onnx")
    with pytest.raises(BundleCorrupt, match=r"fusion\.onnx"):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"opset": 99}, "opset 99"),
        ({"traits": ["extraversion"]}, "scores extraversion"),
        ({"targets": ["tension", *TRAITS]}, "has the targets tension"),
        ({"targets": [*TRAITS, "tension", "tension"]}, "lists a target twice"),
        ({"spec_hash": "0" * 64}, "input spec 000000000000"),
        ({"modalities": ["video"]}, "reads"),
    ],
)
def test_another_format_is_incompatible(copy, changes, message):
    rewrite(copy, **changes)
    with pytest.raises(BundleIncompatible, match=message):
        open_bundle(copy)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"name": "../x"}', "[" * 100_000])
def test_a_broken_description_is_corrupt(copy, content):
    (copy / INFO_FILE).write_text(content)
    with pytest.raises(BundleCorrupt, match=r"bundle\.json"):
        open_bundle(copy)


def nested(depth: int) -> dict[str, Any]:
    return {"deeper": nested(depth - 1)} if depth else {}


MEASURED = {"n": 12, "mean": {"pcc": None, "r2": -3.5}, "intervals": {"r2": [-4, None]}}


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {"x": 5}},
        {"metrics": {"x": {}}},
        {"metrics": {"x": MEASURED | {"n": -1}}},
        {"metrics": {"x": MEASURED | {"n": 10**4000}}},
        {"metrics": {"x": MEASURED | {"mean": {"r2": "high"}}}},
        {"metrics": {"x": MEASURED | {"mean": {"r2": float("nan")}}}},
        {"metrics": {"x": MEASURED | {"mean": {"r2": 10**400}}}},
        {"metrics": {"x": MEASURED | {"intervals": {"r2": [0.1]}}}},
        {"parity": {"fp32": float("inf")}},
        {"parity": {"fp32": -0.1}},
        {"opset": -1},
        {"opset": 10**400},
        {"version": "1" * 201},
        {"name": "x" * 201},
        {"recipe": {"loss": float("nan")}},
        {"recipe": nested(400)},
        {"licence": "\udfff"},
    ],
    ids=lambda changes: str(changes)[:40].encode("ascii", "replace").decode(),
)
def test_what_can_be_no_fact_is_corrupt(copy, changes):
    rewrite(copy, metrics={"validation, official": MEASURED})
    assert open_bundle(copy).info.metrics["validation, official"].mean["r2"] == -3.5
    rewrite(copy, **changes)
    with pytest.raises(BundleCorrupt, match=r"bundle\.json.* not a valid bundle description"):
        open_bundle(copy)


def test_an_infinite_number_of_the_spec_is_corrupt(copy):
    info = json.loads((copy / INFO_FILE).read_text())
    info["spec"]["audio"]["mono_gain"] = 0.5
    text = json.dumps(info).replace('"mono_gain": 0.5', '"mono_gain": 1e999')
    (copy / INFO_FILE).write_text(text)
    with pytest.raises(BundleCorrupt, match="not a valid bundle description"):
        open_bundle(copy)
    with pytest.raises(ValidationError):
        FrameSpec(std=(float("nan"), 1.0, 1.0))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("os.listdir", ""),
        ("os.stat", INFO_FILE),
        ("os.stat", "fusion.onnx"),
        ("pathlib.Path.open", INFO_FILE),
        ("pathlib.Path.open", "fusion.onnx"),
    ],
)
def test_a_bundle_that_may_not_be_read_says_so(copy, monkeypatch, function, name):
    whole = pkgutil.resolve_name(function)

    def refuse(path, *rest, **named):
        if Path(path) == copy / name:
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *rest, **named)

    monkeypatch.setattr(function, refuse)
    with pytest.raises(BundleCorrupt, match="cannot be read: Permission denied"):
        open_bundle(copy)


def test_a_name_that_no_folder_can_have_is_an_error():
    with pytest.raises(BundleError, match="too long"):
        open_bundle("x" * 5000)
    with pytest.raises(BundleNotFound):
        open_bundle("nul\0")


@pytest.mark.parametrize("name", ["../escape.onnx", "/etc/hostname"])
def test_a_path_outside_of_the_folder_is_refused(copy, name):
    info = json.loads((copy / INFO_FILE).read_text())
    info["files"][name] = info["files"].pop("fusion.onnx")
    (copy / INFO_FILE).write_text(json.dumps(info))
    with pytest.raises(BundleCorrupt):
        open_bundle(copy)


def test_an_unknown_name_lists_what_is_there():
    with pytest.raises(BundleNotFound, match="no bundle 'nothing'"):
        open_bundle("nothing")


def test_a_folder_of_that_name_does_not_take_the_place_of_a_shipped_bundle(
    tiny_bundle, tmp_path, monkeypatch
):
    shutil.copytree(tiny_bundle, tmp_path / DEFAULT_BUNDLE)
    monkeypatch.chdir(tmp_path)
    assert tmp_path not in find_bundle(DEFAULT_BUNDLE).resolve().parents
    for named in (Path(DEFAULT_BUNDLE), f"./{DEFAULT_BUNDLE}", str(tmp_path / DEFAULT_BUNDLE)):
        assert find_bundle(named).resolve() == tmp_path / DEFAULT_BUNDLE


def test_a_name_that_was_not_shipped_may_be_a_folder(tiny_bundle, tmp_path, monkeypatch):
    shutil.copytree(tiny_bundle, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert open_bundle("mine").info.name == "tiny"


@pytest.mark.parametrize("name", [None, 3, b"impressions-text-audio", ["x"], ""])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UsageError, match=r"name \(str\) or a folder \(Path\), not "):
        open_bundle(name)


def test_of_a_huge_description_only_the_start_is_read(copy):
    os.truncate(copy / INFO_FILE, 64 * MAX_INFO_BYTES)
    tracemalloc.start()
    try:
        with pytest.raises(BundleCorrupt, match="larger than"):
            open_bundle(copy)
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_INFO_BYTES
    finally:
        tracemalloc.stop()
