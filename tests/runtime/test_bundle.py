import json
import shutil

import pytest

from mmperson.errors import BundleCorrupt, BundleIncompatible, BundleNotFound
from mmperson.runtime.bundle import INFO_FILE, open_bundle


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
