"""The README's commands, file tree and output, and the citation, are those of this repository."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import mmperson
from mmperson.traits import TRAITS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


def block_after(mark):
    """Return the first code block after a marker comment or heading."""
    return FENCE.search(README.split(f"{mark}\n", 1)[1])[1]


def listed_paths():
    """Return the paths of the file tree."""
    paths, folders = [], []
    for line in block_after("## Files").splitlines():
        indent = len(line) - len(line.lstrip())
        name = line.split()[0]
        folders = [*folders[: indent // 2], name]
        paths.append("".join(folders).rstrip("/"))
    return paths


@pytest.mark.parametrize("mark", ["score", "test"])
def test_a_command_is_one_line_that_a_shell_understands(mark):
    command = block_after(f"<!-- {mark} -->")
    assert command.startswith("python3 -m venv .venv")
    assert command.count("\n") == 1
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_ci_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert {"readme score", "readme test"} <= set(re.findall(r"readme \w+", script))


def test_every_path_of_the_tree_exists():
    assert not [path for path in listed_paths() if not (ROOT / path).exists()]


def test_every_room_is_in_the_tree():
    package = ROOT / "mmperson"
    rooms = {path.parent for path in package.glob("*/__init__.py")}
    listed = set(listed_paths())
    assert not {path.relative_to(ROOT).as_posix() for path in rooms} - listed
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert not {name for name in modules if name not in block_after("## Files")}
    assert {"configs", "weights", "benchmarks", "scripts", "docs", "tests"} <= listed


def test_the_output_shown_is_what_the_demo_scores():
    shown = block_after("<!-- output -->")
    scores = mmperson.load().predict(ROOT / "docs" / "demo" / "demo.mp4").scores.model_dump()
    for trait in TRAITS:
        found = re.search(rf"{trait.replace('_', ' ')} .*?(\d\.\d\d)$", shown, re.MULTILINE)
        assert abs(float(found[1]) - scores[trait]) < 0.011


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == mmperson.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
