"""The result file of a stress run; ``python -m benchmarks render`` makes tables of it."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmperson.benchmark.environment import host_label, load, processor, versions
from mmperson.commit import source_commit

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def describe_run(packages: Sequence[str]) -> dict[str, Any]:
    """Describe what is run and on what; call it before the run.

    Raises:
        SystemExit: The tree has changes that no commit names.
    """
    found = source_commit(7) or "unversioned"
    if not re.fullmatch(r"[0-9a-f]{7,40}", found):
        raise SystemExit(
            f"A result names a commit, and this tree is {found}: commit, or use --dry."
        )
    return {
        "command": shlex.join(["python", "-m", "tests.stress", *sys.argv[1:]]),
        "commit": found,
        "host": host_label(),
        "versions": versions(packages),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "processor": processor(),
        "load": load(),
        "threads": 1,
    }


def write_result(kind: str, facts: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write a result file, never over another one."""
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y-%m-%d-%H%M}-{facts['commit']}-{facts['host']}-{kind}.json"
    made = now.isoformat(timespec="seconds")
    text = json.dumps({"file": path.name, "made": made, **facts, **figures}, indent=1)
    with path.open("x", encoding="utf-8") as file:
        file.write(f"{text}\n")
    print(f"Wrote {path}. `python -m benchmarks render` puts it into the pages.", file=sys.stderr)
