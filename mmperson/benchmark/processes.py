"""What another process has cost so far, as Linux tells it; None on other systems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")


def cpu_s(pids: list[int]) -> float | None:
    """Return the CPU time of processes in seconds, all threads together, to a hundredth."""
    told = [_read(pid, "stat") for pid in pids]
    if None in told:
        return None
    # The name of the program, in brackets, may hold spaces; user and system time come 11 later.
    ticks = (text.rpartition(")")[2].split()[11:13] for text in told if text)
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float | None:
    """Return the resident memory of a process in MiB."""
    return _memory_mb(pid, "VmRSS")


def peak_rss_mb(pid: int) -> float | None:
    """Return the most resident memory that a process has had, in MiB.

    ``getrusage`` would not do: on Linux a new process inherits the peak of the one that starts it.
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
