"""What a clip costs a process; imported by the scripts that run a system, so it needs nothing."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from typing import Any

WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


class Meter:
    """CPU time of the stages of this process and of the programs that it ran."""

    def __init__(self) -> None:
        """Begin with the process: starting Python counts as importing."""
        self.stages: dict[str, float] = {}
        self._cpu_s = 0.0

    def lap(self, stage: str) -> None:
        """End a stage; it began where the one before it ended."""
        uses = [resource.getrusage(who) for who in WHO]
        now = sum(use.ru_utime + use.ru_stime for use in uses)
        self.stages[f"{stage}_cpu_s"] = round(now - self._cpu_s, 3)
        self._cpu_s = now


def peak_rss_mb() -> int:
    """Return the most memory that this process has had; getrusage would tell its parent's."""
    with open("/proc/self/status", encoding="ascii") as lines:
        (peak,) = (line for line in lines if line.startswith("VmHWM"))
    return round(int(peak.split()[1]) / 1024)


def run(
    load: Callable[[], Any],
    build: Callable[[Any], Callable[[str], tuple[list[float], int]]],
    warm: str,
    clip: str,
) -> None:
    """Import, build, score a short clip and then the clip, and print what that cost as JSON.

    The short clip pays for what is loaded or compiled at first use.

    Args:
        load: Imports the system.
        build: Makes, from what it imported, a function that scores a file and says how many
            frames its image network saw.
        warm: The short clip.
        clip: The clip that is measured.
    """
    meter = Meter()
    modules = load()
    meter.lap("import")
    score = build(modules)
    meter.lap("build")
    score(warm)
    meter.lap("warm")
    begun = time.perf_counter()
    scores, frames = score(clip)
    wall_s = time.perf_counter() - begun
    meter.lap("clip")
    answer = {
        **meter.stages,
        "clip_wall_s": round(wall_s, 3),
        "peak_rss_mb": peak_rss_mb(),
        "frames": frames,
        "scores": [float(score) for score in scores],
    }
    print(f"\n{json.dumps(answer)}")  # A system may have left its own line open.
