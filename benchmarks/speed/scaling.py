"""What a clip costs by pixels, length, workers and batch, and how near that is to the least.

    python benchmarks/scaling.py

Clips are made anew by ``moving_clip.py``, so that anyone can repeat this. Two bundles: the shipped
one, which reads sound and words, and ``configs/three_modalities.yaml`` with 16 frames and weights
that are as good as random, which cost the same time; they say nothing of quality.

Fits are straight lines by least squares, with R². Beside the speed by workers of one thread is that
of one process with as many threads. *Goals* compare the whole way of one clip of
15 s at 1280x720 on one core with its floor: decoding alone, by a bare loop over PyAV, and each
network alone on ready inputs. CPU times are the least of ``--repeats``. Takes about ten minutes
on an idle machine. A result file is never overwritten; ``--no-save`` only prints.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from result_file import describe_environment, write_result

from mmperson.benchmark.environment import PACKAGES
from mmperson.pool.worker import SINGLE_THREAD_ENV

os.environ.update(SINGLE_THREAD_ENV)  # before numpy is imported

import av
import numpy as np
from decoding import random_bundle
from moving_clip import write_moving_clip
from speed_tables import render_readme

from mmperson.benchmark.facts import bundle_facts, check_scored
from mmperson.benchmark.memory_growth import measure_memory_growth
from mmperson.benchmark.offline import measure_offline, warm_up, worker_counts
from mmperson.benchmark.processes import peak_rss_mb
from mmperson.inference.bundle import Bundle, open_bundle
from mmperson.inference.predictor import Predictor
from mmperson.inference.scoring import ScoringWorkload
from mmperson.inference.session import Session
from mmperson.media import Decode, find_transcript, read_clip, read_transcript
from mmperson.media.decode import Threads
from mmperson.pool.worker_pool import WorkerLimits, WorkerPool, cpu_count
from mmperson.preprocessing.clip import ClipInputs, prepare_clip
from mmperson.preprocessing.collate import Arrays, collate
from mmperson.preprocessing.video.faces import face_detector
from mmperson.schema import Prediction

FRAMES = 16
SECONDS = 15.0
SIZES = ((320, 180), (640, 360), (960, 540), (1280, 720))
LENGTHS_S = (2.0, 5.0, 15.0, 30.0, 60.0)
LENGTHS_SIZE = (640, 360)
BATCHES = (1, 2, 4, 8)
CLIPS_IN_A_ROW = 200
PROFILES: tuple[Decode, ...] = ("exact", "fast", "key")
RANDOM = "random weights, timing only"


def least_cpu_s(work: Callable[[], Any], repeats: int) -> float:
    """Return the least CPU time of all threads, after a run that does not count."""
    work()
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    return min(spent)


def line(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Fit y = intercept + slope x; R² is None for two points, which any line meets."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (intercept + slope * np.asarray(x))
    spread = float(np.var(y))
    r2 = 1 - float(np.mean(rest**2)) / spread if len(x) > 2 and spread > 0 else None
    return {"slope": float(slope), "intercept": float(intercept), "r2": r2}


def whole(bundle: Bundle, clip: Path, decode: Decode, repeats: int) -> dict[str, Any]:
    """Score a clip from file to scores on one core."""
    predictor = Predictor(bundle, decode=decode, decode_threads="none")
    records: list[Prediction] = []
    spent_s = least_cpu_s(lambda: records.append(predictor.predict(clip)), repeats)
    assert records[-1].error is None, records[-1].error
    return {"cpu_s": spent_s, "stages_wall_ms": records[-1].timing_ms}


def floor(bundle: Bundle, clip: Path, decode: Decode, repeats: int) -> dict[str, float]:
    """Decode a clip and do nothing with it, and run each network alone on ready inputs."""
    spec = bundle.info.spec
    reading = spec.read_options()
    sound_s = 0.0 if reading["audio"] is None else reading["audio"].duration_s
    found = {
        "decode": least_cpu_s(
            lambda: bare_decode(clip, reading["frames"] > 0, sound_s, decode), repeats
        )
    }
    if "face" in getattr(spec.video, "views", ()):
        read = read_clip(clip, frames=reading["frames"], decode=decode, threads="none")
        frames = read.frames[np.unique(read.frame_times_s, return_index=True)[1]]
        detector = face_detector()
        found["face detector"] = least_cpu_s(
            lambda: [detector.detect(frame) for frame in frames], repeats
        )
    arrays = collate([ready(bundle, clip, decode)], spec)
    for name, network in networks(bundle):
        found[name] = least_cpu_s(partial(network.run, arrays), repeats)
        arrays = arrays | network.run(arrays)
    return found


def peak_mb(bundle: Bundle, clip: Path, decode: Decode) -> float | None:
    """Return the most memory in MiB that a worker has had after a clip."""
    with WorkerPool(ScoringWorkload(bundle, "cpu", decode), WorkerLimits(1)) as pool:
        warm_up(pool, [str(clip)])
        return peak_rss_mb(pool.pids[0])


def bare_decode(path: Path, video: bool, sound_s: float, decode: Decode) -> None:
    """Decode every picture of the profile and the first seconds of sound, one stream at a time."""
    if video:
        with av.open(str(path)) as container:
            codec = container.streams.video[0].codec_context
            codec.thread_type = "NONE"
            if decode != "exact":
                codec.options |= {"skip_loop_filter": "all"}
                codec.skip_frame = {"fast": "NONREF", "key": "NONKEY"}[decode]
            for _ in container.decode(video=0):
                pass
    if sound_s:
        with av.open(str(path)) as container:
            for frame in container.decode(audio=0):
                if frame.time is not None and frame.time >= sound_s:
                    return


def ready(bundle: Bundle, clip: Path, decode: Decode) -> ClipInputs:
    """Prepare a clip for the networks."""
    predictor = Predictor(bundle)
    decoded = read_clip(clip, decode=decode, threads="none", **bundle.info.spec.read_options())
    words = read_transcript(find_transcript(clip)).text
    return prepare_clip(decoded, words, bundle.info.spec, predictor.tokenizer)


def networks(bundle: Bundle) -> list[tuple[str, Session]]:
    """Load the graphs of a bundle, encoders first."""
    names = [f"encoder_{name}" for name in bundle.info.modalities] + ["fusion"]
    spec_hash = bundle.info.spec_hash
    return [
        (name, Session(bundle.files[f"{name}.onnx"], name, spec_hash, threads=1)) for name in names
    ]


def goals(
    shipped: Bundle, three: Bundle, static: Bundle, clip: Path, repeats: int
) -> dict[str, dict[str, Any]]:
    """Compare the whole way of a clip with its floor."""
    found = {}
    ways = [("shipped, with words", shipped, "exact")]
    for profile in PROFILES:
        ways.append((f"three modalities, {profile}", three, profile))
        ways.append((f"three modalities, int8-static, {profile}", static, profile))
    for name, bundle, profile in ways:
        row = whole(bundle, clip, profile, repeats)
        parts = floor(bundle, clip, profile, repeats)
        row |= {"floor_cpu_s": sum(parts.values()), "floor_parts_cpu_s": parts}
        row["whole_over_floor"] = row["cpu_s"] / row["floor_cpu_s"]
        facts = bundle_facts(bundle)
        row |= {"frames": facts.frames, "sound_s": facts.sound_s, "precision": facts.precision}
        row["peak_rss_mb"] = peak_mb(bundle, clip, profile)
        row["quality"] = facts.quality if bundle is shipped else RANDOM
        found[name] = row
        print(f"{name}: {row['cpu_s']:.3f} CPU s, {row['whole_over_floor']:.2f} x the floor")
    return found


def one_process(bundle: Bundle, clip: Path, seconds: float) -> list[dict[str, float]]:
    """Score clips in one process, by more and more threads for decoding and for each graph."""
    rows = []
    for threads in worker_counts(cpu_count()):
        decoding: Threads = "none" if threads == 1 else "auto"
        predictor = Predictor(bundle, threads=threads, decode_threads=decoding)
        check_scored(predictor.predict(clip))
        scored, begin = 0, time.perf_counter()
        while (passed := time.perf_counter() - begin) < seconds:
            predictor.predict(clip)
            scored += 1
        rows.append({"threads": threads, "clips_per_s": round(scored / passed, 3)})
    return rows


def batches(bundle: Bundle, clip: Path, repeats: int) -> dict[str, Any]:
    """Run all networks on several clips at once."""
    inputs = ready(bundle, clip, "exact")
    graphs = networks(bundle)

    def run(arrays: Arrays) -> None:
        fed = dict(arrays)
        for _, network in graphs:
            fed |= network.run(fed)

    costs = []
    for size in BATCHES:
        arrays = collate([inputs] * size, bundle.info.spec)
        costs.append(least_cpu_s(partial(run, arrays), repeats))
    return {"batch": BATCHES, "cpu_s": costs, "fit_s_per_clip": line(BATCHES, costs)}


def scaling(three: Bundle, folder: Path, repeats: int, seconds: float) -> dict[str, Any]:
    """Measure cost against pixels, length, workers and batch."""
    found: dict[str, Any] = {"weights": RANDOM, "frames": FRAMES, "decode": "exact"}

    def costs(shapes: Sequence[tuple[float, int, int]]) -> list[float]:
        spent = []
        for seconds, width, height in shapes:
            clip = clip_of(folder, seconds, width, height)
            spent.append(whole(three, clip, "exact", repeats)["cpu_s"])
            print(f"{seconds:g} s at {width}x{height}: {spent[-1]:.3f} CPU s")
        return spent

    spent = costs([(SECONDS, *size) for size in SIZES])
    megapixels = [width * height / 1e6 for width, height in SIZES]
    found["pixels"] = {"sizes": SIZES, "seconds": SECONDS, "cpu_s": spent}
    found["pixels"]["fit_s_per_megapixel"] = line(megapixels, spent)
    spent = costs([(length_s, *LENGTHS_SIZE) for length_s in LENGTHS_S])
    found["length"] = {"seconds": LENGTHS_S, "size": LENGTHS_SIZE, "cpu_s": spent}
    found["length"]["fit_s_per_s"] = line(LENGTHS_S, spent)
    middle = clip_of(folder, SECONDS, *LENGTHS_SIZE)
    rates = measure_offline(three, [str(middle)], "cpu", "exact", cpu_count(), seconds)
    counts = [rate.workers for rate in rates]
    rows = [
        {"workers": one.workers, "clips_per_s": one.clips_per_s, "cpu_s": one.cpu_s_per_clip}
        for one in rates
    ]
    found["workers"] = {"seconds": SECONDS, "size": LENGTHS_SIZE, "rates": rows}
    found["workers"]["one_process"] = one_process(three, middle, seconds)
    if len(counts) > 1:
        per_s = [rate.clips_per_s for rate in rates]
        found["workers"]["fit_clips_per_s_per_worker"] = line(counts, per_s)
    found["batch"] = batches(three, middle, repeats)
    found["memory"] = asdict(
        measure_memory_growth(three, str(middle), "cpu", "exact", CLIPS_IN_A_ROW)
    )
    return found


def clip_of(folder: Path, seconds: float, width: int, height: int) -> Path:
    """Return a clip of this shape, made on first use."""
    path = folder / f"{width}x{height}-{seconds:g}s.mp4"
    return path if path.exists() else write_moving_clip(path, seconds, width, height)


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="per number of workers")
    parser.add_argument("--no-save", action="store_true")
    given = parser.parse_args()
    facts = describe_environment(PACKAGES, threads=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shipped = open_bundle()
        frames = {"video.frames": str(FRAMES)}
        three = open_bundle(random_bundle(folder, frames))
        static = open_bundle(random_bundle(folder / "static", frames, "int8-static"))
        clip = clip_of(folder, SECONDS, *SIZES[-1])
        found = {
            "goals": goals(shipped, three, static, clip, given.repeats),
            "scaling": scaling(three, folder, given.repeats, given.seconds),
        }
    print(json.dumps(found["scaling"], indent=1))
    if not given.no_save:
        write_result("scaling", facts, found)
        render_readme()


if __name__ == "__main__":
    main()
