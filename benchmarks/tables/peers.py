"""Markdown table of what a clip costs other systems."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.quality import source

GOAL = 12


def peers(result: dict[str, Any]) -> str:
    """Return CPU time and memory by system, and ratios."""
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
    others = [row for row in result["systems"] if "over_shipped" in row]
    met = all(row["over_shipped"] >= GOAL for row in others)
    return "\n".join([
        *lines,
        "",
        f"Medians of {result['rounds']} rounds; random weights save in the shipped bundle. The "
        f"goal, {GOAL} times less CPU time than each peer with the shipped bundle, is "
        f"{'met' if met else 'not met'}; that bundle reads no frames. Load average before: "
        f"{result['load']:.1f} ({result['hardware']}, one thread where a system lets one choose). "
        f"From {source(result)}.",
    ])  # fmt: skip
