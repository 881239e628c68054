"""What a clip costs oceanai and deep-personality, and what it costs mmperson.

    sh benchmarks/peers/setup.sh ../peers
    python benchmarks/against_peers.py ../peers
    python benchmarks/against_peers.py    # only render, from the newest result file

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

from decoding import random_bundle
from impressions import render
from moving_clip import write_moving_clip
from result_file import ROOT, describe_environment, newest_result, write_result

from mmperson.inference.bundle import DEFAULT_BUNDLE
from mmperson.pool.worker import SINGLE_THREAD_ENV

PEERS = ROOT / "benchmarks" / "peers"
FRAMES = {"oceanai": 75, "deep_personality": 100}
"""Pictures that the image network of a peer sees of this clip, by default."""
WIDTH, HEIGHT = 1280, 720
SECONDS, WARM_SECONDS = 15, 2
GOAL = 12
STAGES = ("import_cpu_s", "build_cpu_s", "warm_cpu_s", "clip_cpu_s")
MEASURED = (*STAGES, "clip_wall_s", "peak_rss_mb", "frames")


def commands(environments: Path, folder: Path) -> dict[str, list[str]]:
    """Name the systems, and say how each is started, but for the clips."""
    ours = [sys.executable, str(PEERS / "run_mmperson.py")]
    found = {"mmperson, text and audio": [*ours, DEFAULT_BUNDLE]}
    for peer, frames in FRAMES.items():
        bundle = random_bundle(folder / peer, {"video.frames": str(frames)})
        python = environments.resolve() / peer / "bin" / "python"
        found[peer] = [str(python), str(PEERS / f"run_{peer}.py")]
        found[f"mmperson, {frames} frames"] = [*ours, str(bundle)]
    return found


def measure(systems: dict[str, list[str]], clips: Sequence[Path], rounds: int) -> Iterator[dict]:
    """Run every system in turn, so that what else the machine does meets all of them."""
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


def table(result: dict[str, Any]) -> str:
    """Render a result as a Markdown table."""
    lines = [
        "| system | frames | CPU s per clip | range | CPU s before: import, networks "
        "| peak RSS, MB | over shipped bundle | over mmperson at as many frames |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["systems"]:
        low, high = row["clip_cpu_s_range"]
        ratios = [
            f"{row[key]:.1f}x" if key in row else ""
            for key in ("over_shipped", "over_equal_frames")
        ]
        lines.append(
            f"| {row['system']} | {row['frames']:.0f} | {row['clip_cpu_s']:.2f} | "
            f"{low:.2f}-{high:.2f} | {row['import_cpu_s']:.1f}, {row['build_cpu_s']:.1f} | "
            f"{row['peak_rss_mb']:.0f} | {' | '.join(ratios)} |"
        )
    peers = [row for row in result["systems"] if "over_shipped" in row]
    met = all(row["over_shipped"] >= GOAL for row in peers)
    return "\n".join([
        *lines,
        "",
        f"Medians of {result['rounds']} rounds; random weights save in the shipped bundle. The "
        f"goal, {GOAL} times less CPU time than each peer with the shipped bundle, is "
        f"{'met' if met else 'not met'}; that bundle reads no pictures. Load average before: "
        f"{result['load']:.1f} ({result['hardware']}, one thread where a system lets one choose). "
        f"From `results/{result['file']}`, made by `{result['command']}`.",
    ])  # fmt: skip


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


def main() -> None:
    """Measure, write the result file, and render the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("environments", type=Path, nargs="?", help="without it, only render")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.environments is not None:
        facts = describe_environment(("numpy", "av", "onnxruntime"), threads=1)
        facts |= {"load": os.getloadavg()[0], "peers": installed(arguments.environments)}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            clips = [folder / "warm.mp4", folder / "clip.mp4"]
            for clip, seconds in zip(clips, (WARM_SECONDS, SECONDS), strict=True):
                write_moving_clip(clip, seconds, WIDTH, HEIGHT)
            systems = commands(arguments.environments, folder)
            rows = list(measure(systems, clips, arguments.rounds))
        figures = {"rounds": arguments.rounds, "systems": summarise(rows), "rows": rows}
        write_result("peers", facts, figures)
    path = ROOT / "benchmarks" / "README.md"
    result = newest_result("peers")
    if result is not None:
        text = render(path.read_text(encoding="utf-8"), "peers", table(result))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
