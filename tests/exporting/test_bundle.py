import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmperson.datasets import read_manifest, rows
from mmperson.errors import ExportError
from mmperson.exporting import bundle as module
from mmperson.exporting import export_run
from mmperson.files import write_folder
from mmperson.preprocessing.spec import FrameSpec, InputSpec, LogMelSpec


def content(*names):
    return {name: b"new" for name in names} | {
        "bundle.json": json.dumps({"files": dict.fromkeys(names)}).encode()
    }


def write_bundle(out, files):
    write_folder(out, files, module._check_replaceable)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(folder, content("a.onnx", "LICENSE.txt"))
    return folder


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_bundle_is_replaced_and_nothing_is_left_beside_it(out):
    write_bundle(out, content("b.onnx"))
    assert names(out) == {"b.onnx", "bundle.json"}
    assert names(out.parent) == {"bundle"}


@pytest.mark.parametrize("kind", ["file", "folder", "link", "missing"])
def test_a_folder_with_other_files_is_left_alone(out, tmp_path, kind):
    match kind:
        case "file":
            (out / "notes.md").write_text("mine")
        case "folder":
            (out / ".git").mkdir()
        case "link":
            (out / "a.onnx").rename(tmp_path / "a.onnx")
            (out / "a.onnx").symlink_to(tmp_path / "a.onnx")
        case "missing":
            (out / "a.onnx").unlink()
    before = names(out)
    with pytest.raises(ExportError, match=r"files differ .*bundle\.json"):
        write_bundle(out, content("b.onnx"))
    assert names(out) == before
    assert not list(tmp_path.glob(".bundle-*"))


@pytest.mark.parametrize("described", [b"", b"[]", b"{}", b'{"files": null}', b'{"files": [[]]}'])
def test_a_broken_description_is_left_alone(out, described):
    (out / "bundle.json").write_bytes(described)
    with pytest.raises(ExportError):
        write_bundle(out, content("b.onnx"))
    assert (out / "bundle.json").read_bytes() == described


def test_a_link_to_a_bundle_is_left_alone(out, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(out)
    with pytest.raises(ExportError, match="not a bundle"):
        write_bundle(link, content("b.onnx"))
    assert "a.onnx" in names(out)


def test_other_files_are_refused_before_anything_is_trained_or_measured(out, manifest_file):
    (out / "notes.md").write_text("mine")
    with pytest.raises(ExportError, match=r"notes\.md"):
        export_run("no run", out, manifest_file)


def test_the_old_bundle_comes_back_if_the_new_one_cannot_be_moved(out, monkeypatch):
    rename = Path.rename

    def fail_for_new(self, target):
        if self.name == "new":
            raise OSError("moved away")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="moved away"):
        write_bundle(out, content("b.onnx"))
    assert "a.onnx" in names(out)
    assert names(out.parent) == {"bundle"}


def test_a_full_disk_leaves_nothing_behind(out, monkeypatch):
    def full(self, data):
        raise OSError("no space")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_bundle(out, content("b.onnx"))
    assert names(out.parent) == {"bundle"}


def test_the_bundle_names_its_columns(tiny_bundle):
    info = json.loads((tiny_bundle / "bundle.json").read_text(encoding="utf-8"))
    assert info["targets"] == info["recipe"]["data"]["targets"]


def test_clips_are_decoded_by_workers(manifest_file, demo, monkeypatch, tmp_path):
    spec = InputSpec(audio=LogMelSpec(window_s=1.0), video=FrameSpec(count=2, height=32, width=32))
    monkeypatch.setattr(rows, "read_clip", lambda *_, **__: pytest.fail("decodes in this process"))
    manifest = replace(read_manifest(manifest_file).select([0, 1]), clip=(str(demo), None))
    found = module._spread_rows(SimpleNamespace(spec=spec), manifest, tmp_path)
    assert found.present.tolist() == [[1, 1, 0], [0, 0, 0]]
    assert found.batch(np.arange(2))["video"][0].float().std() > 10  # the cache has gone
