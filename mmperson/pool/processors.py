"""How many processors this process may use: affinity, and the quota of its control group."""

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
    """Return how many processors this process may use, at least 1.

    A container limited to 2 CPUs on a host of 64 gives 2. ``os.process_cpu_count`` would not do: it
    ignores the quotas of control groups.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    usable = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(usable, cpu_quota())))


def cpu_quota(groups: Path = _GROUPS, own_groups: Path = _OWN_GROUPS) -> float:
    """Return the processors that the control groups of this process allow, inf without a limit.

    Args:
        groups: Where control groups are mounted.
        own_groups: File that names the groups of this process.

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
    """Yield quota over period of a group and of those it is in, where they are limited.

    Within a container the path may be the host's, which is not mounted; the mount is then the group
    of the container itself.
    """
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # no such group, or "max"
            quota, period = " ".join((folder / name).read_text() for name in files).split()
            if int(quota) > 0:  # version 1 has -1 for no limit
                yield int(quota) / int(period)
        if folder == mount:
            return
