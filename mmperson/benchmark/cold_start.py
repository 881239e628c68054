"""Cold start: time and memory of the first score in a new process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from mmperson.errors import MMPersonError
from mmperson.inference.bundle import Bundle
from mmperson.inference.providers import Provider
from mmperson.media import Decode
from mmperson.pool.worker import SINGLE_THREAD_ENV

RUNS: Final = 5
"""Number of processes."""
_PROGRAM: Final = """
import json, os, sys, time
begin = time.perf_counter()
sys.path[:], folder, clip, provider, decode = json.loads(sys.argv[1])
import mmperson
imported = time.perf_counter()
predictor = mmperson.load(folder, provider=provider, decode=decode)
opened = time.perf_counter()
record = predictor.predict(clip)
scored = time.perf_counter()
from mmperson.benchmark.processes import peak_rss_mb
print(json.dumps({
    "error": record.error and record.error.message,
    "import_s": imported - begin,
    "bundle_s": opened - imported,
    "clip_s": scored - opened,
    "cpu_s": time.process_time(),
    "peak_rss_mb": peak_rss_mb(os.getpid()),
}))
"""


@dataclass(frozen=True)
class ColdStart:
    """Medians over new processes that score one clip each.

    Attributes:
        runs: Number of processes.
        import_s: ``import mmperson``.
        bundle_s: Imports for scoring; reading, checking and loading the bundle.
        clip_s: The first clip, from file to scores.
        process_s: Wall time of the whole process.
        cpu_s: CPU time of all threads.
        peak_rss_mb: Peak resident memory in MiB; None where unknown.
    """

    runs: int
    import_s: float
    bundle_s: float
    clip_s: float
    process_s: float
    cpu_s: float
    peak_rss_mb: float | None


def measure_cold_start(bundle: Bundle, clip: str, provider: Provider, decode: Decode) -> ColdStart:
    """Score a clip in new processes, one at a time, with files in the page cache.

    Raises:
        MMPersonError: A process could not score the clip.
    """
    answers = [_score_once(bundle, clip, provider, decode) for _ in range(RUNS)]
    medians = {
        name: round(statistics.median(answer[name] for answer in answers), 4)
        for name, value in answers[0].items()
        if value is not None
    }
    return ColdStart(runs=RUNS, **{"peak_rss_mb": None, **medians})  # type: ignore[arg-type]


def _score_once(bundle: Bundle, clip: str, provider: Provider, decode: Decode) -> dict[str, float]:
    arguments = json.dumps([sys.path, str(bundle.folder.resolve()), clip, provider, decode])
    begin = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, arguments],
        env={**os.environ, **SINGLE_THREAD_ENV},
        capture_output=True,
        text=True,
        check=False,
    )
    process_s = time.perf_counter() - begin
    figures = json.loads(answer.stdout) if answer.returncode == 0 else {"error": answer.stderr}
    if (problem := figures.pop("error")) is not None:
        raise MMPersonError(f"A new process could not score {clip!r}: {problem.strip()}")
    return {**figures, "process_s": process_s}
