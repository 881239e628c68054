"""Memory growth of a worker over many scored clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mmperson.benchmark.facts import check_scored
from mmperson.benchmark.processes import rss_mb
from mmperson.errors import UsageError
from mmperson.inference.bundle import Bundle
from mmperson.inference.providers import Provider
from mmperson.inference.scoring import Job, ScoringWorkload
from mmperson.media import Decode
from mmperson.pool.worker_pool import DEFAULT_MEMORY_MB, WorkerLimits, WorkerPool

WARM_SHARE: Final = 0.1
"""Share of the clips for the warm-up, after which memory is first measured."""


@dataclass(frozen=True)
class MemoryGrowth:
    """Resident memory of one worker.

    Attributes:
        scored: Number of times the worker scored the same clip.
        first_mb: Resident memory in MiB after a tenth of them.
        last_mb: Resident memory in MiB after all of them.
        growth: Relative growth from first to last.
    """

    scored: int
    first_mb: float
    last_mb: float
    growth: float


def measure_memory_growth(
    bundle: Bundle,
    clip: str,
    provider: Provider,
    decode: Decode,
    repeat: int,
    memory_mb: float = DEFAULT_MEMORY_MB,
) -> MemoryGrowth:
    """Score a clip ``repeat`` times in one worker.

    Raises:
        UsageError: The system is not Linux.
    """
    warm = max(round(WARM_SHARE * repeat), 1)
    measured: list[float] = []
    with WorkerPool(
        ScoringWorkload(bundle, provider, decode), WorkerLimits(1, memory_mb=memory_mb)
    ) as pool:
        for number in range(1, repeat + 1):
            pool.submit(number, Job(clip))
            while pool.busy:
                for _, record in pool.poll():
                    check_scored(record)
            if number in (warm, repeat):
                resident_mb = rss_mb(pool.pids[0])
                if resident_mb is None:
                    raise UsageError("The memory of a worker can be measured only on Linux.")
                measured.append(resident_mb)
    first, last = measured[0], measured[-1]
    return MemoryGrowth(repeat, first, last, round(last / first - 1, 4))
