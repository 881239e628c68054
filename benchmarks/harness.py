"""What every result file states beside its figures; imported by the scripts of this folder."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from mmperson.benchmark.environment import commit, load, processor, versions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def describe_environment(packages: Sequence[str], threads: int) -> dict[str, Any]:
    """Say what is measured and on what, and hold numpy to it; to be called before the measurement.

    Args:
        packages: Whose versions matter.
        threads: Threads that the measurement uses.
    """
    threadpool_limits(threads, user_api="blas")  # numpy takes all processors if it may
    return {
        "command": shlex.join(
            ["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_without_folders, sys.argv[1:])]
        ),
        "commit": commit() or "unversioned",
        "versions": versions(packages),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "processor": processor(),
        "load": load(),
        "threads": threads,
    }


def write_result(kind: str, facts: dict[str, Any], figures: dict[str, Any]) -> None:
    """Write a result file, never over another one.

    Args:
        kind: What was measured, the end of the file's name.
        facts: From ``circumstances``.
        figures: What was measured.
    """
    now = datetime.now(UTC)
    name = f"{now:%Y-%m-%d-%H%M}-{facts['commit']}-{kind}.json"
    content = {"file": name, "made": now.isoformat(timespec="seconds"), **facts, **figures}
    with (RESULTS / name).open("x", encoding="utf-8") as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")
    print(f"Wrote {RESULTS / name}.")


def newest_result(kind: str) -> dict[str, Any] | None:
    """Return the newest result of a kind, or None; names begin with the date."""
    found = sorted(RESULTS.glob(f"*-{kind}.json"))
    return json.loads(found[-1].read_text(encoding="utf-8")) if found else None


def _without_folders(argument: str) -> str:
    """Shorten a path that means nothing elsewhere to its last part."""
    return Path(argument).name if os.path.isabs(argument) else argument
