"""What a clip costs by pixels, length, workers and batch, and how near that is to the least.

    python -m benchmarks run scaling

Clips are made anew by ``moving_clip.py``, so that anyone can repeat this. Two bundles: the shipped
one, which reads sound and words, and ``configs/three_modalities.yaml`` with 16 frames and weights
that are as good as random, which cost the same time; they say nothing of quality.

Fits are straight lines by least squares, with R². Beside the speed by workers of one thread is that
of one process with as many threads. *Goals* compare the whole way of one clip of
15 s at 1280x720 on one core with its floor: decoding alone, by a bare loop over PyAV, and each
network alone on ready inputs. CPU times are the least of ``--repeats``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmperson.benchmark.environment import PACKAGES as PACKAGES
from mmperson.pool.worker import SINGLE_THREAD_ENV

os.environ.update(SINGLE_THREAD_ENV)  # before numpy is imported

import av
import numpy as np

from benchmarks.speed.moving_clip import write_moving_clip
from benchmarks.speed.networks import random_bundles
from mmperson.benchmark.facts import bundle_facts, check_scored
from mmperson.benchmark.memory_growth import measure_memory_growth
from mmperson.benchmark.offline import measure_offline, warm_up, worker_counts
from mmperson.benchmark.processes import peak_rss_mb
from mmperson.inference.bundle import Bundle, open_bundle
from mmperson.inference.predictor import Predictor
from mmperson.inference.scoring import ScoringWorkload
from mmperson.inference.session import Session
from mmperson.media import Decode, find_transcript, probe_clip, read_clip, read_transcript
from mmperson.media.decode import Threads
from mmperson.pool.worker_pool import WorkerLimits, WorkerPool, cpu_count
from mmperson.preprocessing.clip import ClipInputs, prepare_clip
from mmperson.preprocessing.collate import Arrays, collate
from mmperson.preprocessing.video.faces import face_detector
from mmperson.schema import Prediction

FRAMES = 16
PROFILES: tuple[Decode, ...] = ("exact", "fast", "key")
RANDOM = "random weights, timing only"


@dataclass(frozen=True)
class Shapes:
    """Sizes that are measured.

    Attributes:
        seconds: Length of the clips of different sizes.
        sizes: Width and height; the last is that of the goals.
        lengths_s: Lengths at one size.
        lengths_size: Which size.
        batches: Clips per run of a graph.
        clips_in_a_row: Clips after which the growth of memory is taken.
    """

    seconds: float = 15.0
    sizes: tuple[tuple[int, int], ...] = ((320, 180), (640, 360), (960, 540), (1280, 720))
    lengths_s: tuple[float, ...] = (2.0, 5.0, 15.0, 30.0, 60.0)
    lengths_size: tuple[int, int] = (640, 360)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    clips_in_a_row: int = 200


TINY = Shapes(1.0, ((64, 36), (96, 54), (128, 72)), (0.5, 1.0, 1.5), (64, 36), (1, 2), 20)


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


def measure_clip(bundle: Bundle, clip: Path, decode: Decode, repeats: int) -> dict[str, Any]:
    """Score a clip from file to scores on one core."""
    predictor = Predictor(bundle, decode=decode, decode_threads="none")
    records: list[Prediction] = []
    spent_s = least_cpu_s(lambda: records.append(predictor.predict(clip)), repeats)
    assert records[-1].error is None, records[-1].error
    return {"cpu_s": spent_s, "stages_wall_ms": records[-1].timing_ms}


def measure_floor(bundle: Bundle, clip: Path, decode: Decode, repeats: int) -> dict[str, float]:
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
    arrays = collate([prepare(bundle, clip, decode)], spec)
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


def prepare(bundle: Bundle, clip: Path, decode: Decode) -> ClipInputs:
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


def measure_goals(
    shipped: Bundle, three: Bundle, static: Bundle, clip: Path, repeats: int
) -> dict[str, dict[str, Any]]:
    """Compare the whole way of a clip with its floor."""
    found = {}
    ways = [("shipped, with words", shipped, "exact")]
    for profile in PROFILES:
        ways.append((f"three modalities, {profile}", three, profile))
        ways.append((f"three modalities, int8-static, {profile}", static, profile))
    for name, bundle, profile in ways:
        row = measure_clip(bundle, clip, profile, repeats)
        parts = measure_floor(bundle, clip, profile, repeats)
        row |= {"floor_cpu_s": sum(parts.values()), "floor_parts_cpu_s": parts}
        row["whole_over_floor"] = row["cpu_s"] / row["floor_cpu_s"]
        facts = bundle_facts(bundle)
        row |= {"frames": facts.frames, "sound_s": facts.sound_s, "precision": facts.precision}
        row["peak_rss_mb"] = peak_mb(bundle, clip, profile)
        row["quality"] = facts.quality if bundle is shipped else RANDOM
        found[name] = row
        print(f"{name}: {row['cpu_s']:.3f} CPU s, {row['whole_over_floor']:.2f} x the floor")
    return found


def measure_threads(bundle: Bundle, clip: Path, seconds: float) -> list[dict[str, float]]:
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


def measure_batches(
    bundle: Bundle, clip: Path, sizes: Sequence[int], repeats: int
) -> dict[str, Any]:
    """Run all networks on several clips at once."""
    inputs = prepare(bundle, clip, "exact")
    graphs = networks(bundle)

    def run(arrays: Arrays) -> None:
        fed = dict(arrays)
        for _, network in graphs:
            fed |= network.run(fed)

    costs = []
    for size in sizes:
        arrays = collate([inputs] * size, bundle.info.spec)
        costs.append(least_cpu_s(partial(run, arrays), repeats))
    return {"batch": sizes, "cpu_s": costs, "fit_s_per_clip": line(sizes, costs)}


def measure_scaling(
    three: Bundle, folder: Path, shapes: Shapes, repeats: int, seconds: float
) -> dict[str, Any]:
    """Measure cost against pixels, length, workers and batch."""
    found: dict[str, Any] = {"weights": RANDOM, "frames": FRAMES, "decode": "exact"}

    def costs(clips: Sequence[tuple[float, int, int]]) -> list[float]:
        spent = []
        for seconds, width, height in clips:
            clip = clip_of(folder, seconds, width, height)
            spent.append(measure_clip(three, clip, "exact", repeats)["cpu_s"])
            print(f"{seconds:g} s at {width}x{height}: {spent[-1]:.3f} CPU s")
        return spent

    spent = costs([(shapes.seconds, *size) for size in shapes.sizes])
    megapixels = [width * height / 1e6 for width, height in shapes.sizes]
    found["pixels"] = {"sizes": shapes.sizes, "seconds": shapes.seconds, "cpu_s": spent}
    found["pixels"]["fit_s_per_megapixel"] = line(megapixels, spent)
    spent = costs([(length_s, *shapes.lengths_size) for length_s in shapes.lengths_s])
    found["length"] = {
        "seconds": shapes.lengths_s,
        "size": shapes.lengths_size,
        "cpu_s": spent,
    }
    found["length"]["fit_s_per_s"] = line(shapes.lengths_s, spent)
    middle = clip_of(folder, shapes.seconds, *shapes.lengths_size)
    rates = measure_offline(three, [str(middle)], "cpu", "exact", cpu_count(), seconds)
    counts = [rate.workers for rate in rates]
    rows = [
        {"workers": one.workers, "clips_per_s": one.clips_per_s, "cpu_s": one.cpu_s_per_clip}
        for one in rates
    ]
    found["workers"] = {
        "seconds": shapes.seconds,
        "size": shapes.lengths_size,
        "rates": rows,
    }
    found["workers"]["one_process"] = measure_threads(three, middle, seconds)
    if len(counts) > 1:
        per_s = [rate.clips_per_s for rate in rates]
        found["workers"]["fit_clips_per_s_per_worker"] = line(counts, per_s)
    found["batch"] = measure_batches(three, middle, shapes.batches, repeats)
    found["memory"] = asdict(
        measure_memory_growth(three, str(middle), "cpu", "exact", shapes.clips_in_a_row)
    )
    return found


def clip_of(folder: Path, seconds: float, width: int, height: int) -> Path:
    """Return a clip of this shape, made on first use."""
    path = folder / f"{width}x{height}-{seconds:g}s.mp4"
    return path if path.exists() else write_moving_clip(path, seconds, width, height)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="per number of workers")
    parser.add_argument("--tiny", action="store_true", help="small clips, the shipped bundle alone")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure what scaling costs, and how near to the floor a clip is."""
    shipped, shapes = open_bundle(), TINY if given.tiny else Shapes()
    three = static = shipped
    if not given.tiny:
        found = random_bundles(folder, ("int8", "int8-static"), {"video.frames": str(FRAMES)})
        three, static = (open_bundle(path) for path in found.values())
    clip = clip_of(folder, shapes.seconds, *shapes.sizes[-1])
    figures = {
        "goals": measure_goals(shipped, three, static, clip, given.repeats),
        "scaling": measure_scaling(three, folder, shapes, given.repeats, given.seconds),
    }
    print(json.dumps(figures["scaling"], indent=1))
    return {"scaling": figures}


def smoke(folder: Path) -> list[str]:
    exact = line([1, 2, 4], [3.0, 5.0, 9.0])
    assert np.allclose([exact[key] for key in ("slope", "intercept", "r2")], [2.0, 1.0, 1.0])
    assert 0 < line([1, 2, 3], [1.0, 3.0, 2.0])["r2"] < 0.5
    assert line([1, 2], [1.0, 3.0])["r2"] is None
    one, other = (write_moving_clip(folder / name, 0.6, 160, 90) for name in ("a.mp4", "b.mp4"))
    assert one.read_bytes() == other.read_bytes()
    info = probe_clip(one)
    assert (info.video.width, info.video.height) == (160, 90)
    assert abs(info.duration_s - 0.6) < 0.1
    return ["--tiny", "--repeats", "1", "--seconds", "0.05"]
