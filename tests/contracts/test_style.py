"""Modules stay short, and their names say what is in them."""

from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[2] / "mmperson").rglob("*.py"))
VAGUE = {"utils", "helpers", "common", "misc", "base", "core"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_module_is_short_and_has_a_name_of_its_own(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert path.stem not in VAGUE
