"""How fast a bundle scores clips here: every scenario of ``mmperson benchmark``, kept as a result.

    python benchmarks/throughput.py docs/demo/demo.mp4 ../shared/data/clips/talking

Needs Linux, and a machine with nothing else to do. Also watches the memory of one worker over
``--repeat`` clips. Every clip gets a transcript: its own, or that of the demo clip. A result file
is never overwritten; ``--no-save`` only prints.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmperson.pool.worker import SINGLE_THREAD_ENV

os.environ.update(SINGLE_THREAD_ENV)  # before numpy is imported

from result_file import ROOT, describe_environment, write_result
from rich.console import Console
from speed_tables import render_readme

from mmperson.benchmark.environment import PACKAGES
from mmperson.media.folders import expand_folders


def with_words(clips: Sequence[str], folder: Path) -> list[str]:
    """Link clips into a folder, each with a transcript beside it."""
    from mmperson.media import find_transcript

    linked = []
    for number, name in enumerate(clips):
        clip = Path(name).resolve()
        link = folder / f"{number:03d}-{clip.name}"
        link.symlink_to(clip)
        words = find_transcript(clip) or ROOT / "docs" / "demo" / "demo.txt"
        link.with_suffix(words.suffix).symlink_to(words.resolve())
        linked.append(str(link))
    return linked


def main() -> None:
    """Measure and write the result file."""
    from mmperson.benchmark.scenarios import measure
    from mmperson.cli.benchmark_table import print_report
    from mmperson.inference.bundle import DEFAULT_BUNDLE, open_bundle

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", help="clips, or folders of them")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeat", type=int, default=1000)
    parser.add_argument("--workers", type=int, help="at most so many")
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    facts = describe_environment(PACKAGES, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        clips = with_words(expand_folders(arguments.clips), Path(folder))
        report = measure(
            open_bundle(arguments.bundle),
            clips,
            workers=arguments.workers,
            seconds=arguments.seconds,
            repeat=arguments.repeat,
            on_stage=print,
        )
    named = [replace(clip, clip=Path(clip.clip).name) for clip in report.clips]
    report = replace(report, clips=named)
    print_report(report, Console(highlight=False))
    if not arguments.no_save:
        write_result("throughput", facts, report.to_dict())
        render_readme()


if __name__ == "__main__":
    main()
