"""Server: clips that arrive at random, and how many of them a second still get a prompt answer.

Requests arrive by a Poisson process, in real time and at real workers. The time to the answer
counts from when a request was due, whether or not it had to wait for a worker. The highest rate
that keeps the bound is found by bisection; all rates take their arrivals from the same draw.
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
"""Share of requests that may be answered later than the bound: 95 % are not."""
PROBES: Final = 6
"""Rates that are tried: the last step is a 64th of the range."""
LEAST_REQUESTS: Final = 20
"""Requests per rate, at least: with fewer, no single one may be late."""
_SEED: Final = 0


@dataclass(frozen=True)
class Probe:
    """What became of requests at one rate.

    Attributes:
        rate_per_s: Requests per second, on average over those that were to arrive.
        requests: How many were to arrive.
        kept: Whether 95 % of the answers kept the bound.
        wall: Time from arrival to answer. None if the bound was not kept: the probe ends as soon as
            that is certain.
    """

    rate_per_s: float
    requests: int
    kept: bool
    wall: Latency | None


@dataclass(frozen=True)
class Server:
    """The highest rate of requests that keeps a bound.

    Attributes:
        workers: Processes, one thread each.
        bound_s: What 95 % of the answers must keep, waiting included, in seconds.
        rate_per_s: The highest rate that kept it; None if none of those that were tried did.
        wall: Time from arrival to answer at that rate.
        probes: Every rate that was tried, in order.
    """

    workers: int
    bound_s: float
    rate_per_s: float | None
    wall: Latency | None
    probes: list[Probe]


def measure_server(
    pool: ScoringPool, clips: Sequence[str], bound_s: float, highest_per_s: float, seconds: float
) -> Server:
    """Find the highest rate below one that no pool keeps up with.

    Args:
        pool: The workers.
        clips: The clips that are asked for, in turn.
        bound_s: What 95 % of the answers must keep, in seconds.
        highest_per_s: The rate below which to look.
        seconds: For how long requests arrive at each rate, at least.
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
    """Send requests at a rate, and answer them in the order of their arrival."""
    count = max(LEAST_REQUESTS, math.ceil(rate_per_s * seconds))
    gaps_s = np.random.default_rng(_SEED).exponential(size=count)
    gaps_s /= gaps_s.mean() * rate_per_s  # drawn ones are longer or shorter by chance
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
    while pool.busy:  # The probe has failed, and what is in hand counts no more.
        pool.poll()
    kept = len(walls_s) == count and late <= LATE_SHARE * count
    return Probe(rate_per_s, count, kept, latency(walls_s) if kept else None)
