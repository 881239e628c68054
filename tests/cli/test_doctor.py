import json
import os
import re
import shutil

import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.inference import providers as engine
from mmperson.inference.bundle import open_bundle
from mmperson.preprocessing.video import faces


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(app, ["doctor", *arguments])


def test_a_whole_bundle_is_shown_with_its_files(run, tiny_bundle):
    result = run("--bundle", str(tiny_bundle))
    assert result.exit_code == 0
    assert "intact" in result.stdout
    assert "fusion.onnx" in result.stdout
    assert re.search(r"ffmpeg of PyAV +libavutil \d", result.stdout)
    assert re.search(r"ffmpeg of OpenCV +avcodec \d", result.stdout)
    assert f"{open_bundle(tiny_bundle).hash[:12]} " in result.stdout
    assert re.search(r"face detector  intact .*\n  b4db3a810e4e", result.stdout)


def test_a_broken_bundle_sets_the_exit_code(run, tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "copy")
    (folder / "fusion.onnx").write_bytes(b"")
    result = run("--bundle", str(folder))
    assert result.exit_code == 3
    assert "BundleCorrupt" in result.stdout


def test_names_with_brackets_are_shown_as_they_are(run, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("--bundle", "./[bold]/[/red]")
    assert result.exit_code == 3
    assert result.stdout.count("./[bold]/[/red]") == 2
    folder = shutil.copytree(tiny_bundle, tmp_path / "[a][/b]")
    info = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    (folder / "bundle.json").write_text(json.dumps(info | {"licence": "[/dim] mine"}))
    result = run("--bundle", "./[a][/b]")
    assert result.exit_code == 0
    assert "[a][/b]" in result.stdout
    assert "[/dim] mine" in result.stdout


def test_every_provider_that_is_listed_is_started(run, tiny_bundle, monkeypatch):
    result = run("--bundle", str(tiny_bundle))
    assert re.search(r"^provider cpu +starts in onnxruntime \d", result.stdout, re.MULTILINE)
    monkeypatch.setattr(engine, "available", lambda: ["cpu", "cuda"])
    monkeypatch.setattr(engine, "probe", lambda name: "no driver" if name == "cuda" else None)
    result = run("--bundle", str(tiny_bundle))
    assert result.exit_code == 0
    assert re.search(r"^provider cuda +does not start in .*: no driver", result.stdout, re.M)


def test_a_face_detector_of_another_hash_sets_the_exit_code(
    run, tiny_bundle, tmp_path, monkeypatch
):
    path = tmp_path / "centerface.onnx"
    path.write_bytes(bytes(faces.MODEL_BYTES))
    monkeypatch.setattr(faces, "find_model", lambda: path)
    result = run("--bundle", str(tiny_bundle))
    assert result.exit_code == 3
    assert "face detector  BundleCorrupt" in result.stdout
    monkeypatch.setattr(faces, "MODEL_BYTES", 1)
    path.write_bytes(b"x")
    monkeypatch.setattr(faces.Path, "read_bytes", refuse)
    assert "cannot be read: Permission denied" in run("--bundle", str(tiny_bundle)).stdout


def test_a_bundle_that_may_not_be_read_is_reported(run, tiny_bundle, monkeypatch):
    monkeypatch.setattr(os, "listdir", refuse)
    result = run("--bundle", str(tiny_bundle))
    assert result.exit_code == 3
    assert "BundleCorrupt" in result.stdout
    assert "Permission denied" in result.stdout


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")
