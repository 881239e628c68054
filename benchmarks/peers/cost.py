"""What a clip costs oceanai and deep-personality, and what it costs mmperson.

    sh benchmarks/peers/setup.sh ../peers
    python -m benchmarks run peers -- ../peers

Each system scores the same clip, 15 s of H.264 at 1280x720 with a keyframe every ten seconds, in a
fresh process and its own environment, one after the other over ``--rounds`` rounds; all networks
but that of the shipped bundle have random weights. CPU time counts, of all threads and of the
programs that a system runs; import, building and a first short clip are counted apart.
``benchmarks/peers/`` says how each is called.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from benchmarks.speed.moving_clip import write_moving_clip
from benchmarks.speed.networks import random_bundle
from mmperson.inference.bundle import DEFAULT_BUNDLE
from mmperson.pool.worker import SINGLE_THREAD_ENV

PACKAGES = ("numpy", "av", "onnxruntime")
PEERS = ROOT / "benchmarks" / "peers"
RUNNERS = {name: PEERS / f"run_{name}.py" for name in ("mmperson", "oceanai", "deep_personality")}
FRAMES = {"oceanai": 75, "deep_personality": 100}
"""Pictures that the image network of a peer sees of this clip, by default."""
WIDTH, HEIGHT = 1280, 720
SECONDS, WARM_SECONDS = 15, 2
STAGES = ("import_cpu_s", "build_cpu_s", "warm_cpu_s", "clip_cpu_s")
MEASURED = (*STAGES, "clip_wall_s", "peak_rss_mb", "frames")


def commands(environments: Path, folder: Path) -> dict[str, list[str]]:
    """Name the systems, and say how each is started, but for the clips."""
    ours = [sys.executable, str(RUNNERS["mmperson"])]
    found = {"mmperson, text and audio": [*ours, DEFAULT_BUNDLE]}
    for peer, frames in FRAMES.items():
        bundle = random_bundle(folder / peer, {"video.frames": str(frames)})
        python = environments.resolve() / peer / "bin" / "python"
        found[peer] = [str(python), str(RUNNERS[peer])]
        found[f"mmperson, {frames} frames"] = [*ours, str(bundle)]
    return found


def run_systems(
    systems: dict[str, list[str]], clips: Sequence[Path], rounds: int
) -> Iterator[dict[str, Any]]:
    """Run every system in turn, so that other load on the machine meets all of them."""
    variables = {**os.environ, **SINGLE_THREAD_ENV, "OPENCV_FFMPEG_THREADS": "1"}
    variables.pop("PYTHONPATH", None)
    for number, (name, command) in itertools.product(range(rounds), systems.items()):
        ours = {"PYTHONPATH": str(ROOT)} if name.startswith("mmperson") else {}
        python, script, *rest = command
        with tempfile.TemporaryDirectory() as folder:
            answer = subprocess.run(
                [python, script, *map(str, clips), *rest],
                cwd=folder,
                env={**variables, **ours},
                capture_output=True,
                text=True,
                check=False,
            )
        if answer.returncode:
            raise SystemExit(f"{name} ended with {answer.returncode}:\n{answer.stderr[-3000:]}")
        row = {"system": name, "round": number, **parse(answer.stdout)}
        print(json.dumps(row), flush=True)
        yield row


def parse(output: str) -> dict[str, Any]:
    """Read the last line that a script printed; systems print lines of their own before it.

    Raises:
        ValueError: It is not what ``peers/meter.py`` prints, or not five scores on [0, 1].
    """
    lines = output.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
        found = {name: answer[name] for name in MEASURED}
        scores = [float(score) for score in answer["scores"]]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Not the figures of a clip: {lines[-1:]} ({error!r}).") from error
    if len(scores) != 5 or not all(0 <= score <= 1 for score in scores):
        raise ValueError(f"Not five scores on [0, 1], so the clip was not scored: {scores}.")
    return found


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the median of every figure per system, the range of the clip's CPU time, and ratios.

    A peer's ratios are its CPU time over that of mmperson's shipped bundle, and over that of
    mmperson's network for all modalities that sees as many frames as the peer.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(row["system"] for row in rows):
        mine = [row for row in rows if row["system"] == name]
        found[name] = {
            "system": name,
            **{key: statistics.median(row[key] for row in mine) for key in MEASURED},
            "clip_cpu_s_range": [f(row["clip_cpu_s"] for row in mine) for f in (min, max)],
        }
    for peer, frames in FRAMES.items():
        others = {"over_shipped": "mmperson, text and audio"}
        others |= {"over_equal_frames": f"mmperson, {frames} frames"}
        for key, other in others.items():
            found[peer][key] = found[peer]["clip_cpu_s"] / found[other]["clip_cpu_s"]
    return list(found.values())


def installed(environments: Path) -> dict[str, dict[str, str]]:
    """Return the versions that the environments hold of the packages that their lists name."""
    found = {}
    for peer in FRAMES:
        wanted = {
            line.partition("==")[0]
            for line in (PEERS / f"{peer}.txt").read_text("utf-8").splitlines()
            if "==" in line
        }
        command = [environments / peer / "bin" / "python", "-m", "pip", "list", "--format=json"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        held = {row["name"].replace("_", "-"): row["version"] for row in json.loads(answer.stdout)}
        found[peer] = {name: held[name] for name in sorted(wanted & set(held))}
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("environments", type=Path, help="folder that setup.sh has filled")
    parser.add_argument("--rounds", type=int, default=3)


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Draw the clip, and run every system."""
    clips = [folder / "warm.mp4", folder / "clip.mp4"]
    for clip, seconds in zip(clips, (WARM_SECONDS, SECONDS), strict=True):
        write_moving_clip(clip, seconds, WIDTH, HEIGHT)
    systems = commands(given.environments, folder)
    rows = list(run_systems(systems, clips, given.rounds))
    figures = {
        "peers": installed(given.environments),
        "rounds": given.rounds,
        "systems": summarise(rows),
        "rows": rows,
    }
    return {"peers": figures}


def smoke(folder: Path) -> None:
    figures = {name: 1.0 for name in MEASURED}
    for output in ("", "Killed", "[]", "{}", json.dumps({**figures, "scores": [0.5]})):
        try:
            parse(output)
        except ValueError:
            continue
        raise AssertionError(f"taken for figures: {output}")
    clip = write_moving_clip(folder / "clip.mp4", 1.0, 64, 36)
    ours = {"mmperson, text and audio": [sys.executable, str(RUNNERS["mmperson"]), DEFAULT_BUNDLE]}
    (row,) = run_systems(ours, [clip, clip], 1)
    assert row["clip_cpu_s"] > 0
    cpu_s = {"mmperson, text and audio": (1, 1, 2), "oceanai": (24, 30, 18)}
    cpu_s |= {"mmperson, 75 frames": (6, 6, 6), "deep_personality": (11, 11, 11)}
    cpu_s |= {"mmperson, 100 frames": (22, 22, 22)}
    rows = [
        {"system": name, **figures, "clip_cpu_s": seconds}
        for name, rounds in cpu_s.items()
        for seconds in rounds
    ]
    found = {row["system"]: row for row in summarise(rows)}
    assert (found["oceanai"]["over_shipped"], found["oceanai"]["over_equal_frames"]) == (24, 4)
    assert found["oceanai"]["clip_cpu_s_range"] == [18, 30]
