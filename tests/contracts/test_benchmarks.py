"""Benchmarks run, refuse what they must, and render what they measured; nothing is imported."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NAME = re.compile(r"\d{4}-\d\d-\d\d-\d{4}-([0-9a-f]{7,40})-([a-z0-9]+)-([a-z-]+)\.json")
STATED = {"file", "made", "command", "commit", "host", "versions", "hardware"}
QUICK = ("impressions", "engines", "scaling", "fusions")
"""Smoke runs of seconds; ``.ci/run`` does all of them."""


def benchmarks(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_the_list_names_every_benchmark_and_its_newest_result():
    answer = benchmarks("list")
    assert answer.returncode == 0, answer.stderr
    names = re.findall(r"^([a-z-]+) ", answer.stdout, re.MULTILINE)
    assert {"throughput", "gpu", "fusions", "synthetic", "peers"} <= set(names)
    newest = max(RESULTS.glob("*-throughput.json")).name
    assert newest in answer.stdout


def test_every_page_and_table_is_that_of_its_results():
    answer = benchmarks("render", "--check")
    assert answer.returncode == 0, answer.stderr


def test_a_page_that_is_not_of_its_results_is_named(tmp_path):
    copy = copy_of_the_pages(tmp_path)
    page = copy / "docs" / "results" / "peers.md"
    page.write_text(page.read_text(encoding="utf-8").replace("oceanai | 75", "oceanai | 7"))
    (copy / "SECURITY.md").write_text("no block\n", encoding="utf-8")
    answer = benchmarks("render", "--check", cwd=copy)
    assert answer.returncode == 1
    assert "docs/results/peers.md is not that of its results" in answer.stderr
    assert "SECURITY.md: no single block <!-- mutants -->" in answer.stderr
    benchmarks("render", cwd=copy)
    assert "oceanai | 75" in page.read_text(encoding="utf-8")


def test_a_result_needs_a_commit_or_a_scratch_folder(tmp_path):
    copy = copy_of_the_pages(tmp_path)  # is under no git
    arguments = ("run", "engines", "--", "--shipped")
    answer = benchmarks(*arguments, cwd=copy)
    assert answer.returncode == 2
    assert "this tree is unversioned" in answer.stderr


def test_an_unknown_benchmark_is_refused():
    answer = benchmarks("smoke", "nothing")
    assert answer.returncode == 2
    assert "there is no benchmark nothing" in answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_smallest_run_of_a_benchmark_works(name):
    answer = benchmarks("smoke", name)
    assert answer.returncode == 0, answer.stderr[-3000:]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_a_result_states_what_was_measured_on_what(path):
    commit, host, _ = NAME.fullmatch(path.name).groups()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert not STATED - set(result)
    assert (result["file"], result["commit"], result["host"]) == (path.name, commit, host)


def test_every_kind_of_result_has_one_table_with_all_its_files():
    kinds = {}
    for path in RESULTS.glob("*.json"):
        kinds.setdefault(NAME.fullmatch(path.name)[3], set()).add(path.name)
    assert {path.stem for path in RESULTS.glob("*.csv")} == set(kinds)
    for kind, files in kinds.items():
        with (RESULTS / f"{kind}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["file"] for row in rows} == files
        assert None not in rows[0]


def copy_of_the_pages(folder):
    """Copy what ``render`` reads and writes, and the package, into a folder without git."""
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("benchmarks", "docs/results", "mmperson"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in ("README.md", "SECURITY.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder
