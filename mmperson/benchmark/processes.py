"""CPU time and memory of processes on Linux; None on other systems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")


def cpu_s(pids: list[int]) -> float | None:
    """Return the total CPU time of processes in seconds, with a resolution of 0.01 s."""
    stats = [_read(pid, "stat") for pid in pids]
    if None in stats:
        return None
    # The program name, in brackets, may contain spaces; user and system time come 11 fields later.
    ticks = (text.rpartition(")")[2].split()[11:13] for text in stats if text)
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float | None:
    """Return the resident memory of a process in MiB."""
    return _memory_mb(pid, "VmRSS")


def peak_rss_mb(pid: int) -> float | None:
    """Return the peak resident memory of a process in MiB.

    Not ``getrusage``: on Linux a new process inherits the peak of its parent.
    """
    return _memory_mb(pid, "VmHWM")


def _memory_mb(pid: int, name: str) -> float | None:
    for line in (_read(pid, "status") or "").splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None


def _read(pid: int, name: str) -> str | None:
    try:
        return (_PROCESSES / str(pid) / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
