"""What a figure of speed means nothing without: hardware, load, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import mmperson
from mmperson.commit import source_commit

BUSY: Final = 0.5
"""Load per processor above which a machine is too busy to be measured."""
PACKAGES: Final = ("numpy", "av", "soxr", "onnxruntime", "onnxruntime-gpu", "tokenizers")
_PROCESSORS: Final = Path("/proc/cpuinfo")
_NO_LABEL: Final = re.compile(r"(?i)\(R\)|\(TM\)|\bAMD\b|\bIntel\b|\b(CPU|Processor|with)\b.*|@.*")


@dataclass(frozen=True)
class Environment:
    """On what, and with what, something is measured.

    Attributes:
        made: When the measurement began, in UTC.
        processor: Its name, as far as the system tells.
        machine: Its architecture.
        processors: How many there are.
        usable: How many of them this process may use.
        load: Processes that wanted to run over the last minute, on average, as the measurement
            began; None where the system does not tell.
        busy: Whether so much else was running that no wall time can be trusted.
        versions: Versions by name: mmperson, Python, and the packages that score.
        commit: Commit of mmperson's source, with ``-dirty`` if it was changed; None where there is
            none.
    """

    made: str
    processor: str
    machine: str
    processors: int
    usable: int
    load: float | None
    busy: bool
    versions: dict[str, str]
    commit: str | None


def describe_environment() -> Environment:
    """Describe this machine and this mmperson; to be called before the measurement."""
    from mmperson.pool.worker_pool import cpu_count

    count, now = os.cpu_count() or 1, load()
    return Environment(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=processor(),
        machine=platform.machine(),
        processors=count,
        usable=cpu_count(),
        load=now,
        busy=now is not None and now > BUSY * count,
        versions={"mmperson": mmperson.__version__, **versions(PACKAGES)},
        commit=commit(),
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of Python, and of each package that is installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def host_label() -> str:
    """Return a short name of this machine for file names, such as ``epyc2c``.

    It is the processor's name without maker and clock, then the number of cores.
    """
    name = _NO_LABEL.sub("", processor())
    return f"{re.sub(r'[^a-z0-9]', '', name.lower()) or 'unnamed'}{os.cpu_count() or 1}c"


def load() -> float | None:
    """Return the load average of the last minute, None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # AttributeError: Windows
        return None


def commit() -> str | None:
    """Return the commit of mmperson's source in seven digits, None where there is none."""
    return source_commit(7)
