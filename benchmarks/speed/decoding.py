"""Measure what decoding costs under each profile, and what fewer frames change.

    python benchmarks/decoding.py CLIP… [--bundle DIR] [--hour]

For each clip with video: CPU time of demultiplexing alone and of ``read_clip`` with 16 frames and
7 s of sound under ``exact``, ``fast`` and ``key``; the least of two, the profiles in turn, one
decoder thread. Beside it: how far the frames are from those of ``exact``, how many differ, their
PSNR against them, and how a bundle's scores move. Without ``--bundle``,
``configs/three_modalities.yaml`` is exported after a single step of training: then the move says
how much the inputs change relative to other clips (``share_of_spread``), not how good scores are.
``--hour`` also reads drawn recordings of 5 and 60 minutes by windows and says what memory that
takes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

import av
import numpy as np
from result_file import ROOT, describe_environment, write_result

from mmperson.benchmark.processes import peak_rss_mb
from mmperson.inference.predictor import Predictor, load
from mmperson.media import AudioWindow, Clip, Decode, probe_clip, read_clip, read_windows
from mmperson.preprocessing.clip import prepare_clip

if TYPE_CHECKING:
    from mmperson.exporting.quantize import Precision

PROFILES: tuple[Decode, ...] = get_args(Decode)
FRAMES = 16
WINDOW = AudioWindow(44_100, duration_s=7.0)
REPEATS = 2
WORDS = "I like to plan my day, and when it goes another way I laugh and begin again."


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


def measure(path: Path, predictor: Predictor) -> dict[str, Any]:
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
        ratios = psnr_db(clip.frames, exact.frames)
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
    inputs = prepare_clip(clip, WORDS, predictor.spec, predictor.tokenizer)
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
            "share_of_spread": float(change.mean() / spread),
        }
    return summary


def random_bundle(
    folder: Path,
    more: Mapping[str, str] = MappingProxyType({}),
    precision: Precision = "int8",
) -> Path:
    """Export ``three_modalities`` after a single step: as good as random, which costs the same.

    Args:
        folder: Where to work, and where the bundle is put.
        more: Changes of the recipe.
        precision: What its graphs are converted to.
    """
    from training_speed import write_corpus  # Here, because it loads torch.

    from mmperson.config import load_recipe
    from mmperson.datasets import read_manifest
    from mmperson.exporting import export_run
    from mmperson.training import train

    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    write_corpus(ROOT / "docs" / "demo" / "demo.mp4", 4, corpus)
    changes = {"data.manifest": str(corpus / "manifest.parquet")}
    changes |= {"optim.epochs": "1", "augment": "null", "optim.ema_decay": "null"}
    changes |= {"run.threads": "1", **more}
    recipe = load_recipe(ROOT / "configs" / "three_modalities.yaml", changes)
    run = train(recipe, folder / "run").run
    rows = read_manifest(corpus / "manifest.parquet").select(np.arange(1))  # for the gates
    export_run(run, folder / "bundle", rows, precision=precision)
    return folder / "bundle"


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


def measure_recordings(folder: Path) -> dict[str, Any]:
    """Read recordings of 5 and 60 minutes, each in its own process."""
    found = {}
    for minutes in (5, 60):
        path = folder / f"{minutes}.mp4"
        draw_recording(path, minutes)
        command = [sys.executable, __file__, "--read", str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"{minutes} min"] = json.loads(answer.stdout)
    return found


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read is not None:
        print(json.dumps(read_recording(given.read)))
        return
    facts = describe_environment(("av", "onnxruntime", "numpy"), threads=1)
    figures: dict[str, Any] = {"weights": "given" if given.bundle else "random"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.clips:
            predictor = load(given.bundle or random_bundle(folder))
            rows = [measure(path, predictor) for path in given.clips if probe_clip(path).video]
            figures |= {"summary": summarise(rows), "clips": rows}
            print(json.dumps(figures["summary"], indent=1))
        if given.hour:
            figures["recordings"] = measure_recordings(folder)
            print(json.dumps(figures["recordings"], indent=1))
    write_result("decoding", facts, figures)


if __name__ == "__main__":
    main()
