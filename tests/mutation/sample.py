"""Mutation testing by sample: draw small changes of the code, and count those that a test notices.

    python -m tests.mutation.sample --count 300 --seed 1 --workers 2

A change is applied in a copy of the tree. First the quick tests that run the changed lines are run,
those of its room and the fastest ones first, then all tests of its room. The change is killed by
the first test that fails, by an error of the import, or by the time limit; else it has survived.
An interrupted run resumes with the same command. The quick tests of ``MAPPED`` run once under
coverage before.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import queue
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import coverage

from tests.mutation.mutations import Mutation, find_mutations
from tests.stress.results import describe_run, write_result

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "mmperson/evaluation": ("tests/evaluation", "tests/cli/test_evaluate.py"),
    "mmperson/preprocessing": ("tests/preprocessing",),
    "mmperson/inference": ("tests/inference",),
    "mmperson/media/transcripts": ("tests/media/transcripts",),
    "mmperson/datasets/pickles.py": ("tests/datasets/test_pickles.py",),
}
"""What is changed, and the tests of its room."""
MAPPED = tuple(dict.fromkeys(test for tests in ROOMS.values() for test in tests))
"""Tests that a map is made of: all others take minutes, and run these rooms in passing."""
MOST_TESTS = 80
MEMORY_BYTES = 20 * 2**30  # of addresses: torch alone reserves 9 GB
PYTEST = ("-m", "pytest", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider")
IN_ORDER = ("-p", "no:randomly", "-p", "no:xdist")
NO_SUCH_TEST = (4, 5)  # a change may rename the cases of a test


@dataclass(frozen=True)
class Coverage:
    """Which tests run a line, how long each takes, and which fail without any mutation."""

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]
    failing: list[str]

    def choose(self, mutation: Mutation) -> list[str]:
        """Return the tests that run the changed lines, those of the room and fast ones first."""
        numbers = range(mutation.line, mutation.end_line + 1)
        run_by = self.lines.get(mutation.path, {})
        tests = {test for number in numbers for test in run_by.get(number, ())} - {""}
        room = ROOMS[room_of(mutation.path)]
        order = lambda test: (not test.startswith(room), self.seconds[test])  # noqa: E731
        return sorted(tests - set(self.failing), key=order)[:MOST_TESTS]


def room_of(path: str) -> str:
    return next(room for room in ROOMS if path.startswith(room))


def draw(tree: Path, count: int, seed: int) -> tuple[list[Mutation], int]:
    """Draw mutations, each as likely as any other; return them, and of how many."""
    folders = [tree / room for room in ROOMS]
    files = [[folder] if folder.is_file() else folder.rglob("*.py") for folder in folders]
    paths = sorted(path for found in files for path in found)
    every = [
        mutation
        for path in paths
        for mutation in find_mutations(path.relative_to(tree).as_posix(), path.read_bytes())
    ]
    return random.Random(seed).sample(every, min(count, len(every))), len(every)


def copy_tree(tree: Path) -> None:
    """Copy what git knows, compiled so that a changed source is always noticed."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    compiling = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "mmperson"]
    subprocess.run([sys.executable, *compiling], cwd=tree, check=True)


def surroundings(tree: Path, **more: str) -> dict[str, str]:
    data = os.environ.get("MMPERSON_DATA", str(ROOT.parent / "shared" / "data"))
    return os.environ | {"PYTHONPATH": str(tree), "MMPERSON_DATA": data} | more


def map_coverage(tree: Path, folder: Path) -> Coverage:
    """Run the quick tests once, and note which of them run a line."""
    data_file, seconds = folder / "coverage", folder / "seconds.json"
    if not seconds.exists():
        changed = ",".join(room if room.endswith(".py") else f"{room}/*" for room in ROOMS)
        measuring = ["-m", "coverage", "run", f"--rcfile={os.devnull}", "--include", changed]
        plugin = ("-p", "tests.mutation.contexts", *IN_ORDER, "-m", "not slow", *MAPPED)
        told = {"TEST_SECONDS": str(seconds), "COVERAGE_FILE": str(data_file)}
        command = [sys.executable, *measuring, *PYTEST, *plugin]
        subprocess.run(command, cwd=tree, env=surroundings(tree, **told), check=False)
    data = coverage.CoverageData(str(data_file))
    data.read()
    lines = {
        Path(file).relative_to(tree).as_posix(): data.contexts_by_lineno(file)
        for file in data.measured_files()
    }
    return Coverage(lines, **json.loads(seconds.read_text(encoding="utf-8")))


def run_tests(tree: Path, tests: list[str], limit_s: float) -> tuple[int | None, str]:
    """Run tests until one fails; return the exit code, None for out of time, and which failed."""
    process = subprocess.Popen(
        [sys.executable, *PYTEST, *IN_ORDER, "-x", *tests],
        cwd=tree,
        env=surroundings(tree, PYTHONDONTWRITEBYTECODE="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES,) * 2),
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return process.returncode, failed[0] if failed else ""


def judge(mutation: Mutation, tree: Path, covering: Coverage) -> dict[str, Any]:
    """Apply a mutation, run the tests, and undo it."""
    path = tree / mutation.path
    source = path.read_bytes()
    changed = mutation.apply(source)
    chosen, room = covering.choose(mutation), list(ROOMS[room_of(mutation.path)])
    skipped = [f"--deselect={test}" for test in covering.failing]
    start = time.perf_counter()
    outcome, by = "survived", ""
    path.write_bytes(changed)
    try:
        for tests in filter(None, (chosen, room)):
            usual_s = sum(
                s for test, s in covering.seconds.items() if test.startswith(tuple(tests))
            )
            code, by = run_tests(tree, [*tests, *skipped], 120 + 10 * usual_s)
            if code is None:
                outcome = "timeout"
            elif code and not (tests is chosen and code in NO_SUCH_TEST):
                outcome = "killed"
            if outcome != "survived":
                break
    finally:
        path.write_bytes(source)
    before, after = (text.decode().splitlines() for text in (source, changed))
    diff = list(difflib.unified_diff(before, after, n=1, lineterm=""))[2:]
    seconds = round(time.perf_counter() - start, 1)
    return {**asdict(mutation), "outcome": outcome, "by": by, "seconds": seconds, "diff": diff}


def summarize(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Count outcomes; what ran out of time counts as killed."""
    found = Counter(row["outcome"] for row in done)
    counts = {name: found[name] for name in ("killed", "timeout", "survived")}
    share = 1 - found["survived"] / max(1, len(done))
    return {"drawn": len(done), **counts, "killed_share": round(share, 4)}


def report(
    done: list[dict[str, Any]], candidates: int, facts: dict[str, Any], given: argparse.Namespace
) -> None:
    """Print the survivors, and write the result."""
    notes = json.loads(given.notes.read_text(encoding="utf-8")) if given.notes else {}
    survivors = [row for row in done if row["outcome"] == "survived"]
    for row in survivors:
        name = f"{row['path']}:{row['line']}:{row['text']}"
        row["note"] = notes.get(name, "")
        print("\n".join(["", name, *row["diff"], row["note"]]))
    kinds = sorted({row["kind"] for row in done})
    figures = {
        "seed": given.seed,
        "candidates": candidates,
        **summarize(done),
        "rooms": {
            room: summarize([row for row in done if room_of(row["path"]) == room]) for room in ROOMS
        },
        "kinds": {kind: summarize([row for row in done if row["kind"] == kind]) for kind in kinds},
        "survivors": survivors,
    }
    print(json.dumps(summarize(done)))
    if not given.dry:
        command = f"python -m tests.mutation.sample --count {given.count} --seed {given.seed}"
        write_result("mutation", facts | {"command": command}, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=300, help="mutations to draw")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="mutations tried at a time")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "mutation", help="kept state")
    parser.add_argument("--dry", action="store_true", help="write no result")
    parser.add_argument("--notes", type=Path, help="JSON: PATH:LINE:TEXT of a survivor to a reason")
    given = parser.parse_args()
    facts = describe_run(["pytest", "coverage", "hypothesis", "numpy", "onnxruntime"])
    folder = given.work.resolve() / f"{facts['commit']}-{given.seed}"
    trees = [folder / f"tree{number}" for number in range(given.workers)]
    if not trees[0].exists():
        copy_tree(trees[0])
    covering = map_coverage(trees[0], folder)
    for tree in trees[1:]:
        if not tree.exists():
            shutil.copytree(trees[0], tree, symlinks=True)
    drawn, candidates = draw(trees[0], given.count, given.seed)
    log = folder / "done.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {(row["path"], row["start"], row["end"], row["text"]) for row in done}
    left = [m for m in drawn if (m.path, m.start, m.end, m.text) not in known]
    free: queue.Queue[Path] = queue.Queue()
    for tree in trees:
        free.put(tree)

    def work(mutation: Mutation) -> dict[str, Any]:
        tree = free.get()
        try:
            return judge(mutation, tree, covering)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool, log.open("a", encoding="utf-8") as file:
        for row in pool.map(work, left):
            done.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            where = f"{row['path']}:{row['line']} {row['seconds']} s"
            print(f"{len(done)}/{len(drawn)} {row['outcome']} {where} {row['by']}", flush=True)
    report(done, candidates, facts, given)


if __name__ == "__main__":
    main()
