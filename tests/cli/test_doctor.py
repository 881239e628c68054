import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(app, ["doctor", *arguments])


def test_a_whole_bundle_is_shown_with_its_files(run, tiny_bundle):
    result = run("--bundle", str(tiny_bundle))
    assert result.exit_code == 0
    assert "whole" in result.stdout
    assert "fusion.onnx" in result.stdout
    assert re.search(r"ffmpeg of PyAV +libavutil \d", result.stdout)
    assert re.search(r"ffmpeg of OpenCV +avcodec \d", result.stdout)


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
