"""Put the newest results into Markdown pages and CSV files.

A page is written by hand but for its blocks: what stands between ``<!-- name -->`` and
``<!-- end name -->`` is replaced. All results of a kind make one CSV file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import RESULTS, ROOT, newest_result, read_result, results_of
from benchmarks.tables import TABLES, peers, quality, safety, speed

Renderer = Callable[..., str]

BLOCKS: dict[str, dict[str, tuple[Renderer, tuple[str, ...]]]] = {
    "README.md": {
        "results": (quality.impressions_summary, ("impressions",)),
        "speed": (speed.summary, ("throughput", "scaling", "peers")),
    },
    "SECURITY.md": {"mutants": (safety.mutants_summary, ("mutants",))},
    "docs/results/quality.md": {
        "context": (quality.impressions_context, ("impressions",)),
        "traits": (quality.impressions_traits, ("impressions",)),
        "synthetic": (quality.synthetic, ("synthetic",)),
        "seven-clips": (quality.seven_clips, ("seven-clips",)),
    },
    "docs/results/fusions.md": {
        "impressions": (quality.fusions, ("impressions-fusions",)),
        "youtube": (quality.fusions, ("youtube-fusions",)),
    },
    "docs/results/text-systems.md": {
        "text-systems": (quality.text_systems, ("text-systems",)),
        "prompts": (quality.text_systems, ("prompts",)),
        "questionnaire": (quality.text_systems, ("questionnaire",)),
    },
    "docs/results/speed.md": {
        "throughput": (speed.throughput, ("throughput",)),
        "scaling": (speed.scaling, ("scaling",)),
        "decoding": (speed.decoding, ("decoding",)),
        "engines": (speed.engines, ("engines",)),
    },
    "docs/results/peers.md": {"peers": (peers.peers, ("peers",))},
    "docs/results/safety.md": {
        "mutants": (safety.mutants, ("mutants",)),
        "fuzz": (safety.fuzz, ("fuzz",)),
        "crash-safety": (safety.crash_safety, ("crash-safety",)),
    },
}
"""Page to block to what renders it, and the kinds of results that it takes."""


def write(*, demo: bool = False) -> int:
    """Write what has changed, and return the exit code.

    Args:
        demo: Whether to score the demo clip, and put what that prints into the README.
    """
    missing = []
    for path, text in _rendered(missing):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"Wrote {path.relative_to(ROOT)}.", file=sys.stderr)
    if demo:
        path = ROOT / "README.md"
        text = path.read_text(encoding="utf-8")
        path.write_text(replace_block(text, "output", demo_output()), encoding="utf-8")
    return _report(missing)


def check() -> int:
    """Return 1, and name the pages, if a page is not what its results render to."""
    problems: list[str] = []
    for path, text in _rendered(problems):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            problems.append(f"{path.relative_to(ROOT)} is not that of its results.")
    if problems:
        problems.append("Run `python -m benchmarks render`.")
    return _report(problems)


def replace_block(page: str, name: str, content: str) -> str:
    """Replace a block of a page.

    Raises:
        ValueError: The page does not have the block exactly once.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise ValueError(f"no single block {start.strip()} … {end}")
    head, rest = page.split(start)
    return f"{head}{start}{content}\n{end}{rest.split(end)[1]}"


def demo_output() -> str:
    """Return what the README's first command prints, at 80 columns."""
    script = "from mmperson.cli.app import main; main()"
    command = [sys.executable, "-c", script, "predict", "docs/demo/demo.mp4", "--format", "text"]
    environment = os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    answer = subprocess.run(
        command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True, env=environment
    )
    lines = (line.rstrip() for line in answer.stdout.strip("\n").splitlines())
    return "\n".join(["```", *lines, "```"])


def _rendered(problems: list[str]) -> Iterator[tuple[Path, str]]:
    """Yield every file with the text that it should have; note blocks that have no place."""
    for name, blocks in BLOCKS.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for block, (render, kinds) in blocks.items():
            results = [newest_result(kind) for kind in kinds]
            if all(results):
                try:
                    text = replace_block(text, block, render(*results))
                except ValueError as error:
                    problems.append(f"{name}: {error}.")
        yield ROOT / name, text
    for kind, table in TABLES.items():
        if found := results_of(kind):
            yield RESULTS / f"{kind}.csv", table.csv(map(read_result, found))


def _report(problems: list[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)
