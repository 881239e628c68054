"""Single stream: one clip at a time in one process."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mmperson.benchmark.facts import ClipFacts, check_scored
from mmperson.benchmark.latency import Latency, latency
from mmperson.inference.predictor import Predictor

STAGES: Final = ("decode", "inputs", "encode", "fuse")


@dataclass(frozen=True)
class SingleStream:
    """Time of scoring one clip at a time.

    Attributes:
        scored: Number of scored clips, in turn.
        wall: Wall time per clip.
        mean_s: Mean wall time per clip.
        cpu_s_per_clip: Mean CPU time of all threads.
        stages_s: Mean wall time of each stage.
        times_real_time: Seconds of clip per second; None where a duration is unknown.
    """

    scored: int
    wall: Latency
    mean_s: float
    cpu_s_per_clip: float
    stages_s: dict[str, float]
    times_real_time: float | None


def measure_single(
    predictor: Predictor, clips: Sequence[ClipFacts], seconds: float
) -> SingleStream:
    """Score clips in turn for a time, each at least once.

    Args:
        predictor: A predictor that has scored each clip before.
        clips: The clips.
        seconds: Shortest time.
    """
    walls_s: list[float] = []
    stages: list[dict[str, float]] = []
    length_s: float | None = 0.0
    begin, cpu_begin = time.perf_counter(), time.process_time()
    for clip in itertools.cycle(clips):
        if len(walls_s) >= len(clips) and time.perf_counter() - begin >= seconds:
            break
        start = time.perf_counter()
        record = check_scored(predictor.predict(clip.clip))
        walls_s.append(time.perf_counter() - start)
        stages.append(record.timing_ms)
        known = length_s is not None and clip.duration_s is not None
        length_s = length_s + clip.duration_s if known else None  # type: ignore[operator]
    spent_s = time.process_time() - cpu_begin
    return SingleStream(
        scored=len(walls_s),
        wall=latency(walls_s),
        mean_s=round(statistics.mean(walls_s), 5),
        cpu_s_per_clip=round(spent_s / len(walls_s), 5),
        stages_s={
            name: round(statistics.mean(stage[name] for stage in stages) / 1e3, 5)
            for name in STAGES
        },
        times_real_time=None if length_s is None else round(length_s / sum(walls_s), 2),
    )
