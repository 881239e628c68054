"""How fast a bundle scores clips here: every scenario of ``mmperson benchmark``, kept as a result.

    python -m benchmarks run throughput -- docs/demo/demo.mp4 ../shared/data/clips/talking

Needs Linux, and a machine with nothing else to do. Also watches the memory of one worker over
``--repeat`` clips. Every clip gets a transcript: its own, or that of the demo clip.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmperson.pool.worker import SINGLE_THREAD_ENV

os.environ.update(SINGLE_THREAD_ENV)  # before numpy is imported

from rich.console import Console

from benchmarks.harness import DEMO
from mmperson.benchmark.environment import PACKAGES as PACKAGES
from mmperson.media.folders import expand_folders


def link_with_transcripts(clips: Sequence[str], folder: Path) -> list[str]:
    """Link clips into a folder, each with a transcript beside it."""
    from mmperson.media import find_transcript

    linked = []
    for number, name in enumerate(clips):
        clip = Path(name).resolve()
        link = folder / f"{number:03d}-{clip.name}"
        link.symlink_to(clip)
        transcript = find_transcript(clip) or DEMO.with_suffix(".txt")
        link.with_suffix(transcript.suffix).symlink_to(transcript.resolve())
        linked.append(str(link))
    return linked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", nargs="+", help="clips, or folders of them")
    parser.add_argument("--bundle", default="impressions-text-audio")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeat", type=int, default=1000)
    parser.add_argument("--workers", type=int, help="at most so many")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run every scenario, and print its table."""
    from mmperson.benchmark.scenarios import measure
    from mmperson.cli.benchmark_table import print_report
    from mmperson.inference.bundle import open_bundle

    report = measure(
        open_bundle(given.bundle),
        link_with_transcripts(expand_folders(given.clips), folder),
        workers=given.workers,
        seconds=given.seconds,
        repeat=given.repeat,
        on_stage=print,
    )
    named = [replace(clip, clip=Path(clip.clip).name) for clip in report.clips]
    report = replace(report, clips=named)
    print_report(report, Console(highlight=False))
    return {"throughput": report.to_dict()}


def smoke(folder: Path) -> list[str]:
    from mmperson.media import find_transcript

    silent = folder / "silent.mp4"
    shutil.copyfile(DEMO, silent)
    (folder / "linked").mkdir()
    linked = link_with_transcripts([str(DEMO), str(silent)], folder / "linked")
    assert all(find_transcript(clip) is not None for clip in linked)
    return [str(DEMO), "--seconds", "0.2", "--repeat", "20", "--workers", "1"]
