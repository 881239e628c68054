"""How a benchmark runs: its arguments, what its result states, and where the result goes."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.registry import BENCHMARKS
from benchmarks.tables import TABLES
from mmperson.benchmark.environment import host_label, load, processor, versions
from mmperson.commit import source_commit

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DEMO = ROOT / "docs" / "demo" / "demo.mp4"
UNVERSIONED = "unversioned"


def run(name: str, arguments: Sequence[str]) -> dict[str, Path]:
    """Measure, and write a result per kind that the benchmark found.

    Args:
        name: From ``BENCHMARKS``.
        arguments: Of that benchmark; ``--scratch``, ``--note`` and ``--commit`` are everyone's.

    Returns:
        The files by kind.
    """
    module = _module(name)
    parser = _parser(name, module)
    given = parser.parse_args(list(arguments))
    threads = getattr(given, "threads", 1)
    facts = describe_run(name, arguments, module.PACKAGES, threads)
    if facts["commit"] == UNVERSIONED and given.commit:
        facts["commit"] = given.commit
    if given.note:
        facts["note"] = given.note
    if given.scratch is None and not re.fullmatch(r"[0-9a-f]{7,40}", facts["commit"]):
        parser.error(
            f"a result names the commit that it measured, and this tree is {facts['commit']}: "
            "commit first, name it by --commit where there is no git, or give --scratch FOLDER"
        )
    with tempfile.TemporaryDirectory() as folder:
        found = module.measure(given, Path(folder))
    unknown = set(found) - set(BENCHMARKS[name].kinds)
    assert not unknown, f"the registry does not know {unknown}"
    folder = given.scratch or RESULTS
    return {kind: write_result(folder, kind, facts, figures) for kind, figures in found.items()}


def smoke(name: str) -> None:
    """Run a benchmark at its smallest size, and check what its figures rest on.

    A module's ``smoke(folder)`` checks what can be checked apart, writes what the run needs, and
    returns the arguments of the smallest run, or None where there is none.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        arguments = _module(name).smoke(folder)
        if arguments is not None:
            paths = run(name, [*map(str, arguments), "--scratch", str(folder / "scratch")])
            assert paths, name
            for kind, path in paths.items():
                assert TABLES[kind].table(read_result(path)), path.name


def describe_run(
    name: str, arguments: Sequence[str], packages: Sequence[str], threads: int
) -> dict[str, Any]:
    """Describe what is measured and on what, and hold numpy to the threads.

    Call it before the measurement.

    Args:
        name: From ``BENCHMARKS``.
        arguments: Of that benchmark.
        packages: Packages whose versions matter.
        threads: Threads that the measurement uses.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, user_api="blas")  # numpy takes all processors if it may
    shown = [Path(text).name if os.path.isabs(text) else text for text in arguments]
    command = ["python", "-m", "benchmarks", "run", name, *(["--", *shown] if shown else [])]
    return {
        "command": shlex.join(command),
        "commit": source_commit(7) or UNVERSIONED,
        "host": host_label(),
        "versions": versions(packages),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "processor": processor(),
        "load": load(),
        "threads": threads,
    }


def write_result(
    folder: Path, kind: str, facts: Mapping[str, Any], figures: Mapping[str, Any]
) -> Path:
    """Write a result file, never over another one.

    Args:
        folder: Where to.
        kind: What was measured, the end of the file's name.
        facts: From ``describe_run``.
        figures: What was measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / f"{now:%Y-%m-%d-%H%M}-{facts['commit']}-{facts['host']}-{kind}.json"
    made = now.isoformat(timespec="seconds")
    content = {"file": path.name, "made": made, **facts, **figures}
    text = json.dumps(content, indent=1, allow_nan=False)
    with path.open("x", encoding="utf-8") as file:
        file.write(f"{text}\n")
    print(f"Wrote {path}.", file=sys.stderr)
    return path


def read_result(path: Path) -> dict[str, Any]:
    """Read a result file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def results_of(kind: str) -> list[Path]:
    """Return the committed results of a kind, oldest first; names begin with the date."""
    pattern = re.compile(rf"\d{{4}}-\d\d-\d\d-\d{{4}}-[0-9a-f]+-[a-z0-9]+-{kind}\.json")
    return sorted(path for path in RESULTS.glob("*.json") if pattern.fullmatch(path.name))


def newest_result(kind: str) -> dict[str, Any] | None:
    """Return the newest result of a kind, or None."""
    found = results_of(kind)
    return read_result(found[-1]) if found else None


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{BENCHMARKS[name].module}")


def _parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks run {name} --",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument(
        "--scratch", type=Path, help="write there, not to results; any tree will do"
    )
    parser.add_argument("--note", help="what a reader must know, such as a pruned library")
    parser.add_argument("--commit", help="of this source, where it was copied without git")
    return parser
