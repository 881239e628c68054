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
"""Share of the clips after which memory is measured first: until then a worker warms up."""


@dataclass(frozen=True)
class MemoryGrowth:
    """Resident memory of one worker.

    Attributes:
        scored: How many times it scored the same clip.
        first_mb: Its memory in MiB after a tenth of them.
        last_mb: Its memory in MiB after all of them.
        growth: By which share of the first the last is larger.
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
    """Score a clip again and again in one worker.

    Raises:
        UsageError: The system does not tell how much memory a process has.
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
                found = rss_mb(pool.pids[0])
                if found is None:
                    raise UsageError("Only Linux tells how much memory a worker has.")
                measured.append(found)
    first, last = measured[0], measured[-1]
    return MemoryGrowth(repeat, first, last, round(last / first - 1, 4))
