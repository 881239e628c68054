"""Data flows one way, and inference needs no torch: the contracts in pyproject.toml hold."""

import subprocess
import sys
from pathlib import Path


def test_the_import_contracts_hold(project_root):
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    answer = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
