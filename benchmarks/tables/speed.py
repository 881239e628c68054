"""Render what ``throughput.py`` and ``scaling.py`` found, beside what was aimed at.

    python benchmarks/speed_tables.py

Both call it after they have measured. Its tables are those of the newest result files.
"""

from __future__ import annotations

from typing import Any

from impressions import render
from result_file import ROOT, newest_result

Row = tuple[str, str, str, bool | None]
"""What, the figure, the goal, and whether it is met; None where none was set."""


def speed_rows(throughput: dict[str, Any]) -> list[Row]:
    """Say how fast the shipped bundle scores clips."""
    single, offline, server = (throughput[name] for name in ("single", "offline", "server"))
    cold, drift = throughput["cold"], throughput["drift"]
    wall, most = single["wall"], offline[-1]
    peak_mb = max(rate["peak_rss_mb"] for rate in offline)
    rate_per_s = server["rate_per_s"]
    return [
        (
            "one clip after the other, wall time p50 / p95 / p99",
            " / ".join(f"{1e3 * wall[name]:.0f}" for name in ("p50_s", "p95_s", "p99_s")) + " ms",
            "",
            None,
        ),
        (
            f"clips per second, 1 / {most['workers']} workers",
            f"{offline[0]['clips_per_s']:.1f} / {most['clips_per_s']:.1f}"
            f" ({most['scaling']:.2f} times)",
            "1.8 times with two",
            most["scaling"] >= 1.8 if most["workers"] == 2 else None,
        ),
        (
            f"requests per second at random, 95 % answered in {1e3 * server['bound_s']:.0f} ms",
            "none" if rate_per_s is None else f"{rate_per_s:.1f}",
            "",
            None,
        ),
        ("import", f"{cold['import_s']:.3f} s", "0.1 s", cold["import_s"] <= 0.1),
        (
            "a fresh process to its first score and end",
            f"{cold['process_s']:.2f} s",
            "1.5 s",
            cold["process_s"] <= 1.5,
        ),
        ("peak memory of a worker", f"{peak_mb:.0f} MB", f"{MOST_MB} MB", peak_mb <= MOST_MB),
        (
            f"growth of its memory over {drift['scored']:,} clips",
            f"{100 * drift['growth']:+.2f} %",
            "2 %",
            drift["growth"] < 0.02,
        ),
    ]


GOALS = {
    "shipped, with words": (0.15, "words and sound: the shipped bundle"),
    "three modalities, exact": (1.2, "16 frames, sound and words, `exact`; random weights"),
    "three modalities, int8-static, exact": (1.2, "the same, exported as int8-static"),
    "three modalities, fast": (None, "`fast`"),
    "three modalities, int8-static, fast": (None, "`fast`, int8-static"),
    "three modalities, key": (0.3, "`key`"),
    "three modalities, int8-static, key": (0.3, "`key`, int8-static"),
}
OVER_FLOOR = 1.3
LARGEST = "three modalities, exact"
MOST_MB = 600


def cost_rows(goals: dict[str, Any]) -> list[Row]:
    """Say what a clip of 15 s at 1280x720 costs one core, beside its floor."""
    rows: list[Row] = []
    for name, (goal, told) in GOALS.items():
        found = goals[name]
        cpu_s, over = found["cpu_s"], found["whole_over_floor"]
        spent = f"{told}: CPU time"
        wanted = "" if goal is None else f"{goal} s"
        rows.append((spent, f"{cpu_s:.3f} s", wanted, None if goal is None else cpu_s <= goal))
        rows.append(("over its floor", f"{over:.2f} times", f"{OVER_FLOOR}", over <= OVER_FLOOR))
    peak_mb = goals[LARGEST]["peak_rss_mb"]
    told = f"peak memory of a worker, {GOALS[LARGEST][1]}"
    rows.append((told, f"{peak_mb:.0f} MB", f"{MOST_MB} MB", peak_mb <= MOST_MB))
    return rows


def table(rows: list[Row], head: str) -> str:
    """Render rows as a Markdown table."""
    verdicts = {True: "met", False: "missed", None: ""}
    lines = [f"| {head} | figure | goal | |", "|---|---|---|---|"]
    lines += [
        f"| {what} | {figure} | {goal} | {verdicts[met]} |" for what, figure, goal, met in rows
    ]
    return "\n".join(lines)


def workers_or_threads(found: dict[str, Any]) -> str:
    """Say whether workers or threads use the processors better."""
    workers, threads = found["rates"][-1], found["one_process"][-1]
    width, height = found["size"]
    return (
        f"With {found['seconds']:.0f} s clips of {width}x{height} and 16 frames, "
        f"{workers['workers']} workers of one thread score {workers['clips_per_s']:.2f} clips per "
        f"second, one process of {threads['threads']} threads {threads['clips_per_s']:.2f}."
    )


def source(result: dict[str, Any]) -> str:
    """Say where figures are from."""
    return (
        f"`benchmarks/results/{result['file']}`, made by `{result['command']}` at commit "
        f"{result['commit']} ({result['processor']}, {result['hardware']}, load average before: "
        f"{result['load']})"
    )


def page(throughput: dict[str, Any], scaling: dict[str, Any]) -> str:
    """Render both results."""
    quality = throughput["bundle"]["quality"]["validation, official"]
    return "\n".join([
        table(speed_rows(throughput), f"shipped bundle, {len(throughput['clips'])} clips"),
        "",
        table(cost_rows(scaling["goals"]), "a clip of 15 s, 1280x720, one core"),
        "",
        f"The shipped bundle reads no frame and {throughput['bundle']['sound_s']:.1f} s of sound; "
        f"its quality on validation is {quality['accuracy']:.4f} / {quality['r2']:.3f} / "
        f"{quality['pcc']:.3f} (1-MAE / R² / PCC). The floor is a bare decode and each network on "
        "ready inputs, the search for faces included; descriptors of sound are not in it. "
        f"{workers_or_threads(scaling['scaling']['workers'])} From "
        f"{source(throughput)} and {source(scaling)}.",
    ])  # fmt: skip


def render_readme() -> None:
    """Put the newest figures into the project's README."""
    throughput, scaling = newest_result("throughput"), newest_result("scaling")
    if throughput is None or scaling is None:
        return
    path = ROOT / "README.md"
    text = render(path.read_text(encoding="utf-8"), "speed", page(throughput, scaling))
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    render_readme()
