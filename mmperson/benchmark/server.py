"""Server: the highest request rate that keeps a latency bound.

Requests arrive at real workers in real time, by a Poisson process. Latency includes the time in the
queue. Bisection finds the highest rate; all rates use the same random draw.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mmperson.benchmark.facts import check_scored
from mmperson.benchmark.latency import Latency, latency
from mmperson.benchmark.offline import warm_up
from mmperson.inference.scoring import Job, ScoringPool

LATE_SHARE: Final = 0.05
"""Largest share of requests over the bound."""
PROBES: Final = 6
"""Tested rates: the last step is 1/64 of the range."""
LEAST_REQUESTS: Final = 20
"""Smallest number of requests per rate; with fewer, none could be late."""
_SEED: Final = 0


@dataclass(frozen=True)
class Probe:
    """Result at one request rate.

    Attributes:
        rate_per_s: Mean requests per second.
        requests: Number of requests.
        kept: Whether 95 % of the requests kept the bound.
        wall: Latency; None if the bound was not kept, because the probe stops early.
    """

    rate_per_s: float
    requests: int
    kept: bool
    wall: Latency | None


@dataclass(frozen=True)
class Server:
    """The highest request rate that keeps a bound.

    Attributes:
        workers: Single-threaded processes.
        bound_s: Latency bound of 95 % of the requests in seconds, including the queue.
        rate_per_s: The highest tested rate that kept it, or None.
        wall: Latency at that rate.
        probes: Every tested rate, in order.
    """

    workers: int
    bound_s: float
    rate_per_s: float | None
    wall: Latency | None
    probes: list[Probe]


def measure_server(
    pool: ScoringPool, clips: Sequence[str], bound_s: float, highest_per_s: float, seconds: float
) -> Server:
    """Find the highest rate that keeps the bound.

    Args:
        pool: The workers.
        clips: Paths of the clips, requested in turn.
        bound_s: Latency bound of 95 % of the requests in seconds.
        highest_per_s: Upper end of the search.
        seconds: Shortest time per rate.
    """
    warm_up(pool, clips)
    low, high = 0.0, highest_per_s
    probes: list[Probe] = []
    for _ in range(PROBES):
        probes.append(probe(pool, clips, (low + high) / 2, bound_s, seconds))
        if probes[-1].kept:
            low = probes[-1].rate_per_s
        else:
            high = probes[-1].rate_per_s
    best = max((one for one in probes if one.kept), key=lambda one: one.rate_per_s, default=None)
    return Server(
        workers=pool.size,
        bound_s=round(bound_s, 5),
        rate_per_s=None if best is None else round(best.rate_per_s, 3),
        wall=None if best is None else best.wall,
        probes=probes,
    )


def probe(
    pool: ScoringPool, clips: Sequence[str], rate_per_s: float, bound_s: float, seconds: float
) -> Probe:
    """Send requests at one rate, served in order of arrival."""
    count = max(LEAST_REQUESTS, math.ceil(rate_per_s * seconds))
    gaps_s = np.random.default_rng(_SEED).exponential(size=count)
    gaps_s /= gaps_s.mean() * rate_per_s  # exact mean rate
    due_s = (time.perf_counter() + np.cumsum(gaps_s)).tolist()
    waiting: deque[int] = deque()
    arrived = late = 0
    walls_s: list[float] = []
    while len(walls_s) < count and late <= LATE_SHARE * count:
        now_s = time.perf_counter()
        while arrived < count and due_s[arrived] <= now_s:
            waiting.append(arrived)
            arrived += 1
        while pool.free and waiting:
            number = waiting.popleft()
            pool.submit(number, Job(clips[number % len(clips)]))
        next_s = None if arrived == count else max(due_s[arrived] - time.perf_counter(), 0.0)
        for number, record in pool.poll(next_s):
            check_scored(record)
            walls_s.append(time.perf_counter() - due_s[number])
            late += walls_s[-1] > bound_s
    while pool.busy:  # The probe has failed; discard the remaining requests.
        pool.poll()
    kept = len(walls_s) == count and late <= LATE_SHARE * count
    return Probe(rate_per_s, count, kept, latency(walls_s) if kept else None)
