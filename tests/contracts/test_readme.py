"""The README's commands, file tree and output are those of this repository."""

import re
import subprocess
from pathlib import Path

import pytest

import mmperson
from benchmarks import impressions
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


def test_continuous_integration_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert {"readme score", "readme test"} <= set(re.findall(r"readme \w+", script))


def test_every_path_of_the_tree_exists():
    assert not [path for path in listed_paths() if not (ROOT / path).exists()]


def test_every_module_is_in_the_tree():
    # The files of these folders are told together.
    together = ("cli", "sources", "encoders", "fusion")
    modules = {
        path.parent if path.parent.name in together else path
        for path in (ROOT / "mmperson").rglob("*.py")
        if path.name != "__init__.py"
    }
    listed = set(listed_paths())
    assert not {path.relative_to(ROOT).as_posix() for path in modules} - listed
    assert {"configs", "weights", "benchmarks", "docs", "tests"} <= listed


def test_the_output_shown_is_what_the_demo_scores():
    shown = block_after("<!-- output -->")
    scores = mmperson.load().predict(ROOT / "docs" / "demo" / "demo.mp4").scores.model_dump()
    for trait in TRAITS:
        found = re.search(rf"{trait.replace('_', ' ')} .*?(\d\.\d\d)$", shown, re.MULTILINE)
        assert abs(float(found[1]) - scores[trait]) < 0.011


def test_the_tables_are_rendered_from_the_newest_result():
    result = impressions.newest_result()
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert impressions.render(README, "results", impressions.table(result)) == README
    assert impressions.render(page, "results", impressions.trait_table(result)) == page
    assert result["cold"]["cpu_s"] < 3.0
