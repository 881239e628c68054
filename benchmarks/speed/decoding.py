"""Measure what decoding costs under each profile, and what fewer frames change.

    python -m benchmarks run decoding -- CLIP… [--bundle DIR] [--minutes 5 60]

For each clip with video: CPU time of demultiplexing alone and of ``read_clip`` with 16 frames and
7 s of sound under ``exact``, ``fast`` and ``key``; the least of two, the profiles in turn, one
decoder thread. Beside it: how far the frames are from those of ``exact``, how many differ, their
PSNR against them, and how a bundle's scores move. Without ``--bundle``,
``configs/three_modalities.yaml`` is exported after a single step of training: then the move says
how much the inputs change relative to other clips (``share_of_spread``), not how good scores are.
``--minutes`` also reads drawn recordings of such lengths by windows, and states the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np

from benchmarks.harness import ROOT
from benchmarks.speed.moving_clip import write_moving_clip
from benchmarks.speed.networks import random_bundle
from mmperson.benchmark.processes import peak_rss_mb
from mmperson.inference.predictor import Predictor, load
from mmperson.media import AudioWindow, Clip, Decode, probe_clip, read_clip, read_windows
from mmperson.preprocessing.clip import prepare_clip

PACKAGES = ("av", "onnxruntime", "numpy")
PROFILES: tuple[Decode, ...] = get_args(Decode)
FRAMES = 16
WINDOW = AudioWindow(44_100, duration_s=7.0)
REPEATS = 2
TRANSCRIPT = "I like to plan my day, and when it goes another way I laugh and begin again."


def cpu_ms(work: Callable[[], Any]) -> float:
    """Return the CPU time of all threads, in milliseconds."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def demux(path: Path) -> None:
    """Read every packet of a file."""
    with av.open(str(path)) as container:
        for _ in container.demux():
            pass


def psnr_db(frames: np.ndarray, exact: np.ndarray) -> list[float]:
    """Return the peak signal-to-noise ratio per frame; 100 where frames are equal."""
    error = (frames.astype(np.float32) - exact.astype(np.float32)) ** 2
    return (10 * np.log10(255.0**2 / np.maximum(error.mean(axis=(1, 2, 3)), 6.5e-6))).tolist()


def compare_profiles(path: Path, predictor: Predictor) -> dict[str, Any]:
    """Compare the profiles on one clip."""
    info = probe_clip(path).video
    costs: dict[str, list[float]] = {name: [] for name in ("demux", *PROFILES)}
    clips: dict[str, Clip] = {}

    def read(profile: Decode) -> None:
        clips[profile] = read_clip(
            path, frames=FRAMES, audio=WINDOW, decode=profile, threads="none"
        )

    for _ in range(REPEATS):
        costs["demux"].append(cpu_ms(lambda: demux(path)))
        for profile in PROFILES:
            costs[profile].append(cpu_ms(lambda profile=profile: read(profile)))
    exact = clips["exact"]
    length_s = exact.info.duration_s or 0.0
    found: dict[str, Any] = {"clip": path.name, "codec": info.codec, "duration_s": length_s}
    found |= {"width": info.width, "height": info.height, "fps": info.fps}
    found["cpu_ms"] = {name: round(min(values), 1) for name, values in costs.items()}
    for profile in PROFILES[1:]:
        clip = clips[profile]
        off_s = np.abs(clip.frame_times_s - exact.frame_times_s)
        ratios = psnr_db(np.asarray(clip.frames), np.asarray(exact.frames))
        found[profile] = {
            "off_ms_median": round(1e3 * float(np.median(off_s)), 1),
            "off_ms_largest": round(1e3 * float(off_s.max()), 1),
            "distinct_frames": len(np.unique(clip.frame_times_s)),
            "psnr_db_median": round(float(np.median(ratios)), 1),
            "psnr_db_least": round(min(ratios), 1),
        }
    found["scores"] = {profile: scores_of(path, profile, predictor) for profile in PROFILES}
    return found


def scores_of(path: Path, profile: Decode, predictor: Predictor) -> list[float]:
    """Score a clip under a profile."""
    clip = read_clip(path, decode=profile, threads="none", **predictor.spec.read_options())
    inputs = prepare_clip(clip, TRANSCRIPT, predictor.spec, predictor.tokenizer)
    return predictor.score(inputs).tolist()


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return sums of costs, and the change of scores beside their spread over clips."""
    exact = np.array([row["scores"]["exact"] for row in rows])
    spread = float(exact.std(axis=0).mean())
    summary: dict[str, Any] = {"score_spread_over_clips": spread}
    for profile in PROFILES[1:]:
        change = np.abs(np.array([row["scores"][profile] for row in rows]) - exact)
        cost = [row["cpu_ms"][profile] / row["cpu_ms"]["exact"] for row in rows]
        summary[profile] = {
            "cpu_share_median": round(float(np.median(cost)), 3),
            "score_change_mean": float(change.mean()),
            "score_change_largest": float(change.max()),
            "share_of_spread": float(change.mean() / spread) if spread else None,
        }
    return summary


def draw_recording(path: Path, minutes: int) -> None:
    """Write noise that moves, with a hum, at 5 pictures a second."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (180, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        audio = output.add_stream("aac", rate=16_000, layout="mono")
        for index in range(minutes * 300):
            moved = np.roll(picture, index % 320, axis=1)
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
            output.mux(video.encode(frame))
            wave = 0.3 * np.sin(np.arange(3200) / 12 + index)
            sound = av.AudioFrame.from_ndarray(
                wave[None].astype(np.float32), format="fltp", layout="mono"
            )
            sound.sample_rate = 16_000
            output.mux(audio.encode(sound))
        output.mux(video.encode(None))
        output.mux(audio.encode(None))


def read_recording(path: Path) -> dict[str, float]:
    """Read a recording by windows of 15 s, 8 frames each; memory is that of the whole process."""
    start = time.process_time()
    count = 0
    for _ in read_windows(path, 15.0, frames=8, audio=AudioWindow(16_000), threads="none"):
        count += 1
    peak_mb = peak_rss_mb(os.getpid())  # getrusage would tell the parent's
    return {"windows": count, "cpu_s": time.process_time() - start, "peak_mb": peak_mb}


def measure_recordings(folder: Path, lengths: Sequence[int]) -> dict[str, Any]:
    """Read recordings of so many minutes, each in its own process."""
    found = {}
    for minutes in lengths:
        path = folder / f"{minutes}.mp4"
        draw_recording(path, minutes)
        command = [sys.executable, "-m", "benchmarks.speed.decoding", str(path)]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found[f"{minutes} min"] = json.loads(answer.stdout)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument(
        "--minutes", type=int, nargs="*", default=[], help="recordings, such as 5 60"
    )


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Compare the profiles on clips, and read long recordings."""
    figures: dict[str, Any] = {"weights": "given" if given.bundle else "random"}
    if given.clips:
        predictor = load(given.bundle or random_bundle(folder))
        rows = [compare_profiles(path, predictor) for path in given.clips if probe_clip(path).video]
        figures |= {"summary": summarise(rows), "clips": rows}
        print(json.dumps(figures["summary"], indent=1))
    if given.minutes:
        figures["recordings"] = measure_recordings(folder, given.minutes)
        print(json.dumps(figures["recordings"], indent=1))
    return {"decoding": figures}


def smoke(folder: Path) -> list[str]:
    clips = [write_moving_clip(folder / f"{n}.mp4", 1.0, 64, 36, seed=n) for n in range(2)]
    bundle = ROOT / "weights" / "impressions-text-audio"
    return [*map(str, clips), "--bundle", str(bundle), "--minutes", "1"]


if __name__ == "__main__":  # a process of its own, whose memory is that of the recording
    print(json.dumps(read_recording(Path(sys.argv[1]))))
