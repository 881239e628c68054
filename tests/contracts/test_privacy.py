"""Scoring tells nobody, and leaves nothing in the home folder."""

import os
import subprocess
import sys

import pytest

PREDICT = "from mmperson.cli.app import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_nothing_is_left_in_the_home_folder(tmp_path, project_root, workers):
    home = tmp_path / "home"
    home.mkdir()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG", "ORT"))
    }
    clip = project_root / "docs" / "demo" / "demo.mp4"
    run = subprocess.run(
        [sys.executable, "-c", PREDICT, "predict", str(clip), "--workers", workers],
        cwd=project_root,
        env={**kept, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "openness" in run.stdout
    assert list(home.rglob("*")) == []
