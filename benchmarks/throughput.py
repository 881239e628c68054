"""How many clips a second a bundle scores here, at which cost in CPU time and memory.

    python benchmarks/throughput.py docs/demo/demo.mp4 ../shared/data/clips/talking

Needs Linux, and a machine with nothing else to do. Four parts: a cold start (import, bundle, first
score) in fresh processes; CPU time per clip and stage in one process; clips per second of one, two
and more workers, over ``--rounds`` rounds of all clips; and the memory of one worker over
``--repeat`` clips. Every clip gets a transcript: its own, or that of the demo clip. The scores
must be the same bits for any number of workers. A result file is never overwritten; ``--no-save``
only prints.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from result_file import ROOT, circumstances, write_result

import mmperson
from mmperson.cli.predict import open_folders
from mmperson.runtime.worker import ONE_THREAD

COLD = """
import resource, sys, time
begin = time.perf_counter()
import mmperson
imported = time.perf_counter()
predictor = mmperson.load(sys.argv[1])
loaded = time.perf_counter()
assert predictor.predict(sys.argv[2]).scores is not None
scored = time.perf_counter()
use = resource.getrusage(resource.RUSAGE_SELF)
print(imported - begin, loaded - imported, scored - loaded, scored - begin,
      use.ru_utime + use.ru_stime, use.ru_maxrss / 1024)
"""
COLD_FIGURES = ("import_s", "bundle_s", "clip_s", "first_score_s", "cpu_s", "peak_rss_mb")
WARM_SHARE = 0.1
"""Share of the repeats after which a worker's memory is measured first: until then it warms up."""


def cold_start(bundle: str, clip: Path, runs: int = 5) -> dict[str, float]:
    """Import, open the bundle and score one clip in fresh processes; medians."""
    answers = []
    for _ in range(runs):
        command = [sys.executable, "-c", COLD, bundle, str(clip)]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        answers.append([float(value) for value in answer.stdout.split()])
    medians = [round(statistics.median(column), 3) for column in zip(*answers, strict=True)]
    return dict(zip(COLD_FIGURES, medians, strict=True))


def cost(bundle: str, clips: Sequence[Path], runs: int = 5) -> list[dict[str, Any]]:
    """Score every clip in this process: CPU time, and wall time of the stages."""
    from mmperson.media import probe_clip

    predictor = mmperson.load(bundle)
    rows = []
    for clip in clips:
        first = predictor.predict(clip)
        cpu_s, stages = [], []
        for _ in range(runs):
            begin = time.process_time()
            stages.append(predictor.predict(clip).timing_ms)
            cpu_s.append(time.process_time() - begin)
        video = probe_clip(clip).video
        rows.append(
            {
                "clip": clip.name,
                "duration_s": first.duration_s,
                "pixels": None if video is None else f"{video.width}x{video.height}",
                "error": first.error and first.error.type,
                "cpu_s": round(statistics.median(cpu_s), 4),
                "wall_ms": {
                    name: statistics.median(stage[name] for stage in stages) for name in stages[0]
                },
            }
        )
    return rows


def rate(bundle: str, clips: Sequence[Path], rounds: int, workers: int) -> tuple[dict, list]:
    """Score all clips in workers, and return the scores; the first round warms up."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    records = mmperson.predict_many(list(clips) * rounds, bundle=bundle, workers=workers)
    scores, warm = [], begin
    for number, record in enumerate(records):
        scores.append(record.scores)
        if number + 1 == len(clips):
            warm = time.perf_counter()
    end = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert scores == scores[: len(clips)] * rounds, "scores change from round to round"
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {
        "workers": workers,
        "clips": len(scores),
        "clips_per_s": round((len(scores) - len(clips)) / (end - warm), 2),
        "first_round_s": round(warm - begin, 2),
        "cpu_s_per_clip": round(spent_s / len(scores), 4),
        "largest_peak_rss_mb": round(after.ru_maxrss / 1024),
    }
    return found, scores


def drift(bundle: str, clip: Path, repeat: int) -> dict[str, float]:
    """Resident memory of one worker after a tenth of the clips, and after all of them."""
    warm, measured = max(round(WARM_SHARE * repeat), 1), []
    records = mmperson.predict_many([clip] * (repeat + 1), bundle=bundle, workers=1)
    for number, _ in enumerate(records, 1):
        if number in (warm, repeat):
            measured.append(_resident_mb(_only_child()))
    first, last = measured
    return {
        "clips": repeat,
        "rss_mb": [round(first, 1), round(last, 1)],
        "growth": round(last / first - 1, 4),
    }


def _only_child() -> int:
    (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(child)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def with_words(clips: Sequence[str], folder: Path) -> list[Path]:
    """Link clips into a folder, each with a transcript beside it."""
    from mmperson.media import find_transcript

    linked = []
    for number, name in enumerate(clips):
        clip = Path(name).resolve()
        link = folder / f"{number:03d}-{clip.name}"
        link.symlink_to(clip)
        words = find_transcript(clip) or ROOT / "docs" / "demo" / "demo.txt"
        link.with_suffix(words.suffix).symlink_to(words.resolve())
        linked.append(link)
    return linked


def measure(
    bundle: str, names: Sequence[str], rounds: int, repeat: int, most: int
) -> dict[str, Any]:
    """Measure all four parts."""
    with tempfile.TemporaryDirectory() as folder:
        clips = with_words(open_folders(names), Path(folder))
        rows = cost(bundle, clips)
        counts = sorted({1, min(2, most), most})
        rates, scores = zip(*(rate(bundle, clips, rounds, n) for n in counts), strict=True)
        assert all(one == scores[0] for one in scores), "scores depend on the number of workers"
        return {
            "bundle": bundle,
            "cold": cold_start(bundle, clips[0]),
            "clips": rows,
            "cpu_s_per_clip": round(statistics.mean(row["cpu_s"] for row in rows), 4),
            "rates": list(rates),
            "most_workers_over_one": round(rates[-1]["clips_per_s"] / rates[0]["clips_per_s"], 3),
            "memory": drift(bundle, clips[0], repeat),
        }


def main() -> None:
    os.environ.update(ONE_THREAD)  # before numpy is imported
    from mmperson.runtime.batch import processors
    from mmperson.runtime.bundle import DEFAULT_BUNDLE

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", help="clips, or folders of them")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=processors(), help="at most so many")
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    facts = circumstances(("numpy", "av", "onnxruntime", "soxr"), threads=1)
    facts["load"] = os.getloadavg()[0]
    found = measure(
        arguments.bundle, arguments.clips, arguments.rounds, arguments.repeat, arguments.workers
    )
    print(json.dumps(found, indent=1))
    if not arguments.no_save:
        write_result("throughput", facts, found)


if __name__ == "__main__":
    main()
