"""Mutation testing by sample: draw small changes of the code, and count those that a test notices.

    python -m tests.mutation.sample --count 300 --seed 1 --workers 2

A change is applied in a copy of the tree. First the quick tests that run the changed lines are run,
those of its room and the fastest ones first, then all tests of its room. The change is killed by
the first test that fails, by an error of the import, or by the time limit; else it has survived.
An interrupted run goes on with the same command. The quick tests run once under coverage before.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import platform
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import coverage

from mmperson.benchmark import environment
from tests.mutation.mutations import Mutation, find_mutations

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "mmperson/evaluation": ("tests/evaluation", "tests/cli/test_evaluate.py"),
    "mmperson/preprocessing": ("tests/preprocessing",),
    "mmperson/inference": ("tests/inference",),
    "mmperson/media/transcripts": ("tests/media/transcripts",),
    "mmperson/datasets/pickles.py": ("tests/datasets/test_pickles.py",),
}
"""What is changed, and the tests of its room."""
QUICK = ("-m", "not slow")
MOST_TESTS = 80
MEMORY_BYTES = 20 * 2**30  # of addresses: torch alone reserves 9 GB
PYTEST = ("-m", "pytest", "-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider")
IN_ORDER = ("-p", "no:randomly", "-p", "no:xdist")
NO_SUCH_TEST = (4, 5)


@dataclass(frozen=True)
class Coverage:
    """Which tests run a line, how long each takes, and which fail without any mutation."""

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]
    failing: list[str]

    def choose(self, mutation: Mutation) -> list[str]:
        """Return the tests that run the changed lines, those of the room and fast ones first."""
        room = tests_of(mutation.path)
        tests = {
            test
            for line in range(mutation.line, mutation.end_line + 1)
            for test in self.lines.get(mutation.path, {}).get(line, ())
            if test and test not in self.failing
        }
        key = lambda test: (not test.startswith(room), self.seconds[test])  # noqa: E731
        return sorted(tests, key=key)[:MOST_TESTS]


def tests_of(path: str) -> tuple[str, ...]:
    """Return the tests of the room of a file."""
    return next(tests for room, tests in ROOMS.items() if path.startswith(room))


def draw(count: int, seed: int) -> tuple[list[Mutation], int]:
    """Draw mutations of the rooms, each as likely as any other.

    Returns:
        What was drawn, and of how many.
    """
    files = sorted(
        path
        for room in ROOMS
        for path in ([ROOT / room] if room.endswith(".py") else (ROOT / room).rglob("*.py"))
    )
    every = [
        mutation
        for path in files
        for mutation in find_mutations(path.relative_to(ROOT).as_posix(), path.read_bytes())
    ]
    return random.Random(seed).sample(every, min(count, len(every))), len(every)


def copy_tree(folder: Path) -> None:
    """Copy what git knows or would know, compiled so that changed sources are noticed."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    compiling = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "mmperson"]
    subprocess.run([sys.executable, *compiling], cwd=folder, check=True)


def surroundings(tree: Path, **more: str) -> dict[str, str]:
    data = os.environ.get("MMPERSON_DATA", str(ROOT.parent / "shared" / "data"))
    return os.environ | {"PYTHONPATH": str(tree), "MMPERSON_DATA": data} | more


def map_coverage(tree: Path, folder: Path) -> Coverage:
    """Run the quick tests once, and note which of them run a line."""
    data_file, seconds = folder / "coverage", folder / "seconds.json"
    if not seconds.exists():
        measuring = ["-m", "coverage", "run", "--rcfile=/dev/null", "--include", "mmperson/*"]
        plugin = ("-p", "tests.mutation.contexts", *IN_ORDER)
        command = [sys.executable, *measuring, *PYTEST, *plugin, *QUICK]
        command.remove("-x")
        told = {"TEST_SECONDS": str(seconds), "COVERAGE_FILE": str(data_file)}
        subprocess.run(command, cwd=tree, env=surroundings(tree, **told), check=False)
    data = coverage.CoverageData(str(data_file))
    data.read()
    lines = {
        Path(file).relative_to(tree).as_posix(): data.contexts_by_lineno(file)
        for file in data.measured_files()
    }
    return Coverage(lines, **json.loads(seconds.read_text(encoding="utf-8")))


def run_tests(tree: Path, tests: list[str], limit_s: float) -> tuple[int | None, str]:
    """Run tests until one fails.

    Returns:
        The exit code, None when the time was over, and the test that failed.
    """
    command = [sys.executable, *PYTEST, *IN_ORDER, *tests]
    process = subprocess.Popen(
        command,
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
    tests = covering.choose(mutation)
    start = time.perf_counter()
    outcome, by = "survived", ""
    try:
        path.write_bytes(changed)
        compile(changed, mutation.path, "exec")
        stages = (
            [tests, list(tests_of(mutation.path))] if tests else [list(tests_of(mutation.path))]
        )
        for stage in stages:
            usual_s = sum(covering.seconds.get(test, 0) for test in stage) or 60
            skipped = [f"--deselect={test}" for test in covering.failing]
            code, by = run_tests(tree, [*stage, *skipped], 60 + 10 * usual_s)
            last = stage is stages[-1]
            if code is None:
                outcome = "timeout"
            elif code and (last or code not in NO_SUCH_TEST):
                outcome = "killed"
            if outcome != "survived":
                break
    finally:
        path.write_bytes(source)
    before, after = (text.decode().splitlines() for text in (source, changed))
    lines = list(difflib.unified_diff(before, after, mutation.path, mutation.path, "", "", 1, ""))
    return {
        **asdict(mutation), "outcome": outcome, "by": by, "covering": len(tests),
        "seconds": round(time.perf_counter() - start, 1), "diff": lines[2:],
    }  # fmt: skip


def summarize(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Count outcomes, by room and by kind too."""

    def count(rows: list[dict[str, Any]]) -> dict[str, Any]:
        found = Counter(row["outcome"] for row in rows)
        share = 1 - found["survived"] / max(1, len(rows))
        return {"drawn": len(rows), **found, "killed_share": round(share, 4)}

    def room(row: dict[str, Any]) -> str:
        return next(name for name in ROOMS if row["path"].startswith(name))

    return {
        **count(done),
        "rooms": {name: count([row for row in done if room(row) == name]) for name in ROOMS},
        "kinds": {
            kind: count([row for row in done if row["kind"] == kind])
            for kind in sorted({row["kind"] for row in done})
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300, help="mutations to draw")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="mutations that are tried at a time")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "mutation", help="kept state")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--notes", type=Path, help="JSON: file, line and text of a survivor to why")
    given = parser.parse_args()
    commit = environment.commit() or "unversioned"
    folder = given.work.resolve() / f"{commit}-{given.seed}"
    trees = [folder / f"tree{number}" for number in range(max(1, given.workers))]
    if not trees[0].exists():
        copy_tree(trees[0])
    covering = map_coverage(trees[0], folder)
    for tree in trees[1:]:
        if not tree.exists():
            shutil.copytree(trees[0], tree, symlinks=True)
    drawn, candidates = draw(given.count, given.seed)
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
            where = f"{row['path']}:{row['line']}"
            print(
                f"{len(done)}/{len(drawn)} {row['outcome']} {where} {row['seconds']} s {row['by']}"
            )
    report(done, candidates, given, commit)


def report(done, candidates, given, commit) -> None:
    """Print the survivors, and write the result."""
    notes = json.loads(given.notes.read_text(encoding="utf-8")) if given.notes else {}
    survivors = [row for row in done if row["outcome"] == "survived"]
    for row in survivors:
        row["note"] = notes.get(f"{row['path']}:{row['line']}:{row['text']}", "")
        print("\n".join([f"\n{row['path']}:{row['line']}:{row['text']}", *row["diff"]]))
    now = datetime.now(UTC)
    content = {
        "made": now.isoformat(timespec="seconds"),
        "command": f"python -m tests.mutation.sample --count {given.count} --seed {given.seed}",
        "commit": commit,
        "versions": environment.versions(["pytest", "coverage", "numpy", "onnxruntime"]),
        "processor": environment.processor(),
        "candidates": candidates,
        **summarize(done),
        "survivors": survivors,
    }
    host = re.sub(r"\W", "", platform.machine().lower())
    path = given.out / f"{now:%Y-%m-%d-%H%M}-{commit}-{host}{os.cpu_count()}c-mutation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summarize(done), indent=1))
    print(f"Wrote {path}.")


if __name__ == "__main__":
    main()
