"""A limit on the memory of some processes, by control groups of Linux.

It needs control groups of version 1 or 2 in which this process may make folders, as root may.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PLACES = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}
"""Where groups are made, and the file of their limit, in version 1 and 2."""
SLACK_BYTES = 1 << 18
"""Bytes that are soon used up."""
KILLS = ("memory.oom_control", "memory.events")
PEAKS = ("memory.max_usage_in_bytes", "memory.peak")
CACHED = ("total_cache", "file")


@dataclass(frozen=True)
class MemoryGroup:
    """Processes that the kernel kills, one by one, when together they need too much memory.

    Memory that a process has when it comes in does not count: that of the fork server stays there.

    Attributes:
        folder: Of the control group.
    """

    folder: Path

    def add(self, process: int) -> None:
        """Add a process; what it starts from then on is in the group, too."""
        (self.folder / "cgroup.procs").write_text(str(process), encoding="ascii")

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        words = self._read(KILLS)
        return int(words[words.index("oom_kill") + 1])

    @property
    def peak_bytes(self) -> int:
        """Most bytes that it had, less cached files, which the kernel drops before it kills."""
        words = self._read(("memory.stat",))
        (cached,) = [int(words[words.index(name) + 1]) for name in CACHED if name in words]
        return int(self._read(PEAKS)[0]) - cached

    def _read(self, names: tuple[str, ...]) -> list[str]:
        (path,) = [path for path in map(self.folder.joinpath, names) if path.exists()]
        return path.read_text(encoding="ascii").split()


@contextmanager
def memory_group(limit: int | None = None) -> Iterator[MemoryGroup | None]:
    """Make a group that may have so many bytes; None where this process may not.

    What is still in it in the end is killed, and the group removed.
    """
    for place in PLACES:
        folder = place / f"mmperson-{os.getpid()}"
        try:
            if (place / "cgroup.procs").exists():
                folder.mkdir()
                break
        except OSError:
            continue
    else:
        yield None
        return
    name = PLACES[folder.parent]
    try:
        if not (folder / name).exists():  # a version 2 without the memory controller
            yield None
            return
        if limit is not None:
            (folder / name).write_text(str(limit), encoding="ascii")
        yield MemoryGroup(folder)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Kill what is in a group, and remove it once nothing is."""
    while folder.exists():
        for process in (folder / "cgroup.procs").read_text(encoding="ascii").split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        try:
            folder.rmdir()
        except OSError:  # a process has not ended yet
            time.sleep(0.02)
