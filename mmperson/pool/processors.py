"""Number of usable processors, from the CPU affinity and the cgroup quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")


def cpu_count() -> int:
    """Return the number of usable processors, at least 1.

    Unlike ``os.process_cpu_count``, this respects cgroup quotas: a container with 2 of 64 CPUs
    gives 2.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    usable = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(usable, cpu_quota())))


def cpu_quota(groups: Path = _GROUPS, own_groups: Path = _OWN_GROUPS) -> float:
    """Return the cgroup CPU quota of this process in processors, inf without a limit.

    Args:
        groups: Mount point of the cgroups.
        own_groups: File that lists the cgroups of this process.

    Source: Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (v1) of
    Linux.
    """
    try:
        lines = own_groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += _quotas(groups, path, "cpu.max")
        elif "cpu" in controllers.split(","):
            quotas += _quotas(groups / "cpu", path, "cpu.cfs_quota_us", "cpu.cfs_period_us")
    return min(quotas)


def _quotas(mount: Path, path: str, *files: str) -> Iterator[float]:
    """Yield the quotas of a cgroup and its parents."""
    # In a container the path may be the host's; then the mount is the container's own group.
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # the file is missing, or "max"
            quota, period = " ".join((folder / name).read_text() for name in files).split()
            if int(quota) > 0:  # -1 is no limit in version 1
                yield int(quota) / int(period)
        if folder == mount:
            return
