"""Measure scenarios on one bundle and a set of clips."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mmperson.benchmark.cold_start import ColdStart, measure_cold_start
from mmperson.benchmark.environment import Environment, describe_environment
from mmperson.benchmark.facts import BundleFacts, ClipFacts, bundle_facts, clip_facts
from mmperson.benchmark.memory_growth import MemoryGrowth, measure_memory_growth
from mmperson.benchmark.offline import Throughput, measure_offline
from mmperson.benchmark.server import Server, measure_server
from mmperson.benchmark.single import SingleStream, measure_single
from mmperson.errors import UnknownComponent, UsageError
from mmperson.inference.bundle import Bundle
from mmperson.inference.predictor import Predictor
from mmperson.inference.providers import Provider
from mmperson.inference.scoring import ScoringWorkload
from mmperson.media import Decode
from mmperson.pool.worker_pool import DEFAULT_MEMORY_MB, WorkerLimits, WorkerPool, cpu_count

SCENARIOS: Final = ("single", "offline", "server", "cold")
BOUND_FACTOR: Final = 5.0
"""Default latency bound of the server over the median of the single stream."""
_RANGE: Final = 1.25
"""Largest tested rate over the ideal throughput of the workers."""


@dataclass(frozen=True)
class Report:
    """Results of a measurement; None for scenarios that were not requested.

    Attributes:
        circumstances: Machine and software.
        bundle: The bundle.
        provider: Execution provider.
        decode: Which frames of a video are decoded.
        clips: The clips.
        seconds: Shortest time per scenario.
        single: One clip at a time in one process.
        offline: Throughput by number of workers.
        server: Requests with random arrival times.
        cold: The first score of a new process.
        drift: Memory over many clips.
    """

    circumstances: Environment
    bundle: BundleFacts
    provider: Provider
    decode: Decode
    clips: list[ClipFacts]
    seconds: float
    single: SingleStream | None = None
    offline: list[Throughput] | None = None
    server: Server | None = None
    cold: ColdStart | None = None
    drift: MemoryGrowth | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; times are in seconds."""
        return dataclasses.asdict(self)


def measure(
    bundle: Bundle,
    clips: Sequence[str],
    scenarios: Sequence[str] = SCENARIOS,
    *,
    provider: Provider = "cpu",
    decode: Decode = "exact",
    workers: int | None = None,
    memory_mb: float = DEFAULT_MEMORY_MB,
    seconds: float = 5.0,
    bound_s: float | None = None,
    repeat: int = 0,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure scenarios, one at a time.

    Args:
        bundle: An opened bundle.
        clips: Paths of the clips, scored in turn; transcripts are files next to them.
        scenarios: Some of ``SCENARIOS``; ``server`` also measures ``single``.
        provider: Execution provider.
        decode: Which frames of a video are decoded.
        workers: The largest number of processes; None for one per processor.
        memory_mb: Memory of a worker, see ``WorkerLimits``; a GPU needs far more.
        seconds: Shortest time per measurement.
        bound_s: Latency bound of 95 % of the server's requests, in seconds; None for five times
            the median of the single stream.
        repeat: Number of clips to measure memory growth over; 0 skips it.
        on_stage: Called with the name of each stage.

    Raises:
        UsageError: A value is out of range, or a clip cannot be scored.
        UnknownComponent: There is no such scenario, provider or profile.
    """
    for name in scenarios:
        if name not in SCENARIOS:
            raise UnknownComponent("scenario", name, SCENARIOS)
    _check_arguments(seconds, bound_s, repeat)
    limits = WorkerLimits(workers, memory_mb=memory_mb)
    most = limits.workers or cpu_count()
    facts = describe_environment()
    on_stage("Warming up")
    predictor = Predictor(bundle, provider=provider, decode=decode)
    described = clip_facts(predictor, clips)
    report = Report(facts, bundle_facts(bundle), provider, decode, described, seconds)
    results: dict[str, Any] = {}
    if "single" in scenarios or "server" in scenarios:
        on_stage("Single stream")
        results["single"] = single = measure_single(predictor, described, seconds)
    if "offline" in scenarios:
        on_stage(f"Offline, up to {most} workers")
        results["offline"] = measure_offline(
            bundle, clips, provider, decode, most, seconds, memory_mb
        )
    if "server" in scenarios:
        on_stage(f"Server, {most} workers")
        bound_s = BOUND_FACTOR * single.wall.p50_s if bound_s is None else bound_s
        with WorkerPool(ScoringWorkload(bundle, provider, decode), limits) as pool:
            highest = _RANGE * most / single.mean_s
            results["server"] = measure_server(pool, clips, bound_s, highest, seconds)
    if "cold" in scenarios:
        on_stage("Cold start")
        results["cold"] = measure_cold_start(bundle, clips[0], provider, decode)
    if repeat:
        on_stage(f"Memory over {repeat:,} clips")
        results["drift"] = measure_memory_growth(
            bundle, clips[0], provider, decode, repeat, memory_mb
        )
    return dataclasses.replace(report, **results)


def _check_arguments(seconds: float, bound_s: float | None, repeat: int) -> None:
    """Check that the arguments are in range."""
    if not 0 < seconds <= 3600:
        raise UsageError(f"The measurement time is {seconds:g} s; above 0 to 3600 is allowed.")
    if bound_s is not None and not 0 < bound_s < math.inf:
        raise UsageError(f"The latency bound is {bound_s:g} s; it must be above 0.")
    if repeat < 0:
        raise UsageError(f"The number of clips for memory is {repeat}; it must be 0 or more.")
