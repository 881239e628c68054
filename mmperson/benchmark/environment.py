"""The environment of a measurement: hardware, load, versions, commit."""

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
"""Load per processor above which a machine is too busy for measurements."""
PACKAGES: Final = ("numpy", "av", "soxr", "onnxruntime", "onnxruntime-gpu", "tokenizers")
_PROCESSORS: Final = Path("/proc/cpuinfo")
_NO_LABEL: Final = re.compile(r"(?i)\(R\)|\(TM\)|\bAMD\b|\bIntel\b|\b(CPU|Processor|with)\b.*|@.*")


@dataclass(frozen=True)
class Environment:
    """Machine and software of a measurement.

    Attributes:
        made: Start of the measurement, in UTC.
        processor: Name of the processor.
        machine: Architecture.
        processors: Number of processors.
        usable: Number of processors that this process may use.
        load: Load average of the minute before the start; None where unknown.
        busy: Whether the load is too high to trust wall times.
        versions: Versions of mmperson, Python, and the packages for scoring.
        commit: Commit of mmperson's source, with ``-dirty`` if changed, or None.
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
    """Describe machine and software; call this before the measurement."""
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
        commit=source_commit(7),
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of the installed packages."""
    return {"python": platform.python_version(), **package_versions(packages)}


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
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

    It is the processor's name without vendor and clock, then the number of cores.
    """
    name = _NO_LABEL.sub("", processor())
    return f"{re.sub(r'[^a-z0-9]', '', name.lower()) or 'unnamed'}{os.cpu_count() or 1}c"


def load() -> float | None:
    """Return the load average of the last minute, None where unknown."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # AttributeError: Windows
        return None
