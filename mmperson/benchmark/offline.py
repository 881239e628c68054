"""Offline: many clips that all lie ready, by one worker and by more."""

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
    """How fast so many workers score.

    Attributes:
        workers: Processes, one thread each.
        scored: How many clips were scored, the same ones over and over.
        clips_per_s: Clips per second of wall time, once all workers are warm.
        scaling: ``clips_per_s`` over that of one worker.
        cpu_s_per_clip: CPU time of the workers; None where the system does not tell.
        peak_rss_mb: Most resident memory of the largest worker in MiB; None likewise.
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
    """Measure one worker, two, four and so on up to ``workers``.

    Args:
        bundle: What scores.
        clips: The clips, which are scored in turn.
        provider: Where graphs run.
        decode: Which frames of a video are decoded.
        workers: The largest number of workers.
        seconds: How long to measure each number of workers, at least.
        memory_mb: Memory of a worker, see ``WorkerLimits``.

    Raises:
        MMPersonError: Scores depend on the number of workers, or change from time to time.
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
        work: What scores.
        clips: The clips, which are scored in turn.
        limits: How many workers, and what they may cost.
        seconds: How long to measure, at least.
        known: Scores by clip as they were before; those that are new are added.

    Raises:
        MMPersonError: Scores are not what they were before.
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
    """Return 1, 2, 4 and so on below a number, and the number itself.

    >>> worker_counts(6)
    [1, 2, 4, 6]
    """
    return [*(2**power for power in range((most - 1).bit_length())), most]


def warm_up(pool: ScoringPool, clips: Sequence[str]) -> None:
    """Start all workers of a pool, and let each score a clip."""
    for number in range(pool.size):
        pool.submit(number, Job(clips[number % len(clips)]))
    while pool.busy:
        for _, record in pool.poll():
            check_scored(record)


def _score(
    pool: ScoringPool, clips: Sequence[str], seconds: float, known: dict[str, Scores | None]
) -> tuple[int, float]:
    """Score clips in turn, equally many per worker and each at least once; count and wall time."""
    least = max(len(clips), pool.size)
    handed = 0
    begin = time.perf_counter()
    while True:
        while pool.free:
            late = time.perf_counter() - begin >= seconds
            if late and handed >= least and handed % pool.size == 0:
                break
            pool.submit(handed, Job(clips[handed % len(clips)]))
            handed += 1
        if not pool.busy:
            return handed, time.perf_counter() - begin
        for _, record in pool.poll():
            scores = check_scored(record).scores
            if known.setdefault(record.clip, scores) != scores:
                raise MMPersonError(
                    f"{record.clip!r} has other scores than before: {scores}, not "
                    f"{known[record.clip]}.",
                    hint="Please report this.",
                )
