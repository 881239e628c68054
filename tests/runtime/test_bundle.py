import json
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from mmperson.errors import BundleCorrupt, BundleIncompatible, BundleNotFound, UsageError
from mmperson.runtime.bundle import (
    DEFAULT_BUNDLE,
    INFO_FILE,
    MAX_INFO_BYTES,
    find_bundle,
    open_bundle,
)
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
        ({"targets": ["tension", *TRAITS]}, "gives tension"),
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
