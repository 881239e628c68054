"""Offline: throughput over many available clips, by number of workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmperson.benchmark.facts import check_scored
from mmperson.benchmark.processes import cpu_s, peak_rss_mb
from mmperson.errors import MMPersonError
from mmperson.inference.bundle import Bundle
from mmperson.inference.providers import Provider
from mmperson.inference.scoring import Job, ScoringPool, ScoringWorkload
from mmperson.media import Decode
from mmperson.pool.worker_pool import DEFAULT_MEMORY_MB, WorkerLimits, WorkerPool
from mmperson.schema import Scores


@dataclass(frozen=True)
class Throughput:
    """Throughput of a number of workers.

    Attributes:
        workers: Single-threaded processes.
        scored: Number of scored clips, in turn.
        clips_per_s: Clips per second of wall time, after warm-up.
        scaling: ``clips_per_s`` relative to one worker.
        cpu_s_per_clip: CPU time of the workers per clip; None where unknown.
        peak_rss_mb: Peak resident memory of the largest worker in MiB; None where unknown.
    """

    workers: int
    scored: int
    clips_per_s: float
    scaling: float
    cpu_s_per_clip: float | None
    peak_rss_mb: float | None


def measure_offline(
    bundle: Bundle,
    clips: Sequence[str],
    provider: Provider,
    decode: Decode,
    workers: int,
    seconds: float,
    memory_mb: float = DEFAULT_MEMORY_MB,
) -> list[Throughput]:
    """Measure 1, 2, 4, … workers, up to ``workers``.

    Args:
        bundle: The bundle.
        clips: Paths of the clips, scored in turn.
        provider: Execution provider.
        decode: Which frames of a video are decoded.
        workers: The largest number of workers.
        seconds: Shortest time per number of workers.
        memory_mb: Memory of a worker, see ``WorkerLimits``.

    Raises:
        MMPersonError: The scores of a clip change.
    """
    rates: list[Throughput] = []
    known: dict[str, Scores | None] = {}
    work = ScoringWorkload(bundle, provider, decode)
    for count in worker_counts(workers):
        rate = measure_pool(work, clips, WorkerLimits(count, memory_mb=memory_mb), seconds, known)
        first = rates[0] if rates else rate
        rates.append(replace(rate, scaling=round(rate.clips_per_s / first.clips_per_s, 3)))
    return rates


def measure_pool(
    work: ScoringWorkload,
    clips: Sequence[str],
    limits: WorkerLimits,
    seconds: float,
    known: dict[str, Scores | None],
) -> Throughput:
    """Measure one number of workers.

    Args:
        work: The workload.
        clips: Paths of the clips, scored in turn.
        limits: Number and limits of workers.
        seconds: Shortest time.
        known: Earlier scores by clip; new ones are added.

    Raises:
        MMPersonError: The scores of a clip differ from ``known``.
    """
    with WorkerPool(work, limits) as pool:
        warm_up(pool, clips)
        before_s = cpu_s(pool.pids)
        scored, wall_s = _score(pool, clips, seconds, known)
        after_s = cpu_s(pool.pids)
        peaks = [peak_rss_mb(pid) for pid in pool.pids]
    spent = None if before_s is None or after_s is None else (after_s - before_s) / scored
    return Throughput(
        workers=pool.size,
        scored=scored,
        clips_per_s=round(scored / wall_s, 3),
        scaling=1.0,
        cpu_s_per_clip=None if spent is None else round(spent, 5),
        peak_rss_mb=max((peak for peak in peaks if peak is not None), default=None),
    )


def worker_counts(most: int) -> list[int]:
    """Return the powers of two below a number, and the number.

    >>> worker_counts(6)
    [1, 2, 4, 6]
    """
    return [*(2**power for power in range((most - 1).bit_length())), most]


def warm_up(pool: ScoringPool, clips: Sequence[str]) -> None:
    """Start all workers of a pool and score a clip in each."""
    for number in range(pool.size):
        pool.submit(number, Job(clips[number % len(clips)]))
    while pool.busy:
        for _, record in pool.poll():
            check_scored(record)


def _score(
    pool: ScoringPool, clips: Sequence[str], seconds: float, known: dict[str, Scores | None]
) -> tuple[int, float]:
    """Score each clip at least once, equally many per worker; return count and wall time."""
    least = max(len(clips), pool.size)
    submitted = 0
    begin = time.perf_counter()
    while True:
        while pool.free:
            late = time.perf_counter() - begin >= seconds
            if late and submitted >= least and submitted % pool.size == 0:
                break
            pool.submit(submitted, Job(clips[submitted % len(clips)]))
            submitted += 1
        if not pool.busy:
            return submitted, time.perf_counter() - begin
        for _, record in pool.poll():
            scores = check_scored(record).scores
            if known.setdefault(record.clip, scores) != scores:
                raise MMPersonError(
                    f"{record.clip!r} has changed scores: {scores}, before {known[record.clip]}.",
                    hint="Please report this.",
                )
