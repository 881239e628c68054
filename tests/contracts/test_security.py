"""SECURITY.md promises what tests hold, and its figures are those of the newest result."""

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| (.+?) \| (`tests/.+?) \|$", PAGE, re.MULTILINE)


def test_every_promise_names_tests_that_exist():
    assert len(PROMISES) >= 15
    for promise, named in PROMISES:
        file = None
        for path, test in re.findall(r"`([\w/.]*)::(\w+)`", named):
            file = ROOT / path if path else file
            assert file is not None, promise
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert test in found, promise
        assert re.sub(r"`[\w/.]*::\w+`,? ?", "", named) == "", promise


def test_the_newest_mutants_neither_crash_nor_hang():
    newest = max((ROOT / "benchmarks" / "results").glob("*-mutants.json"))
    result = json.loads(newest.read_text(encoding="utf-8"))
    assert newest.name in PAGE
    assert (result["crashes"], result["hangs"], result["foreign"]) == (0, 0, 0)
