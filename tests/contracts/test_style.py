"""Modules stay short, and their names say what is in them; names of tests stay short."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "mmperson").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
VAGUE = {"utils", "helpers", "common", "misc", "base", "core"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_module_is_short_and_has_a_name_of_its_own(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert path.stem not in VAGUE


def test_names_of_tests_are_short_and_unique_in_their_file():
    for path in TESTS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        tests = [name for name in names if name.startswith("test_")]
        assert not [name for name in tests if len(name) > 70], path
        assert len(tests) == len(set(tests)), path
