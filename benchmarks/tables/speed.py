"""Markdown tables of speed."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.quality import source

Result = dict[str, Any]
Row = tuple[str, str, str, bool | None]
"""What, the figure, the goal, and whether it is met; None where none was set."""

GOALS = {
    "shipped, with words": (0.15, "audio and text: the shipped bundle"),
    "three modalities, exact": (1.2, "16 frames, audio and text, `exact`; random weights"),
    "three modalities, int8-static, exact": (1.2, "the same, exported as int8-static"),
    "three modalities, fast": (None, "`fast`"),
    "three modalities, int8-static, fast": (None, "`fast`, int8-static"),
    "three modalities, key": (0.3, "`key`"),
    "three modalities, int8-static, key": (0.3, "`key`, int8-static"),
}
OVER_FLOOR = 1.3
LARGEST = "three modalities, exact"
MOST_MB = 600


def summary(throughput: Result, scaling: Result, peers: Result) -> str:
    """Return the README's table of five rows."""
    wall, most = throughput["single"]["wall"], throughput["offline"][-1]
    one = throughput["offline"][0]["clips_per_s"]
    cpu_s = {name: row["cpu_s"] for name, row in scaling["goals"].items()}
    by_profile = [cpu_s[f"three modalities, {name}"] for name in ("exact", "fast", "key")]
    ratios = {row["system"]: row for row in peers["systems"] if "over_shipped" in row}
    rows = [
        (
            "one clip, wall time p50 / p95",
            f"{1e3 * wall['p50_s']:.0f} / {1e3 * wall['p95_s']:.0f} ms",
        ),
        (
            f"clips per second, 1 / {most['workers']} workers",
            f"{one:.1f} / {most['clips_per_s']:.1f}",
        ),
        ("fresh process to its first score", f"{throughput['cold']['process_s']:.2f} s"),
        (
            "CPU time of 15 s at 720p: shipped bundle; 16 frames by `exact` / `fast` / `key`",
            f"{cpu_s['shipped, with words']:.2f}; {' / '.join(f'{s:.2f}' for s in by_profile)} s",
        ),
        (
            "CPU time per clip, times that of mmperson at equal frames: "
            + ", ".join(name.replace("_", "-") for name in ratios),
            ", ".join(f"{row['over_equal_frames']:.1f}x" for row in ratios.values()),
        ),
    ]  # fmt: skip
    lines = [
        "| speed | figure |",
        "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in rows),
    ]
    files = ", ".join(
        f"[{kind}](benchmarks/results/{result['file']})"
        for kind, result in (("throughput", throughput), ("scaling", scaling), ("peers", peers))
    )
    return "\n".join([
        *lines,
        "",
        f"{throughput['processor']}, {throughput['hardware']}. The shipped bundle reads "
        f"{throughput['bundle']['sound_s']:.0f} s of audio and the transcript, no frames; networks "
        f"with frames have random weights. From {files}.",
    ])  # fmt: skip


def throughput(result: Result) -> str:
    """Return how fast the shipped bundle scores clips."""
    return "\n".join([
        _goal_table(speed_rows(result), f"shipped bundle, {len(result['clips'])} clips"),
        "",
        f"From {_measured(result)}.",
    ])  # fmt: skip


def speed_rows(throughput: Result) -> list[Row]:
    """Return how fast the shipped bundle scores clips, beside the goals."""
    single, offline, server = (throughput[name] for name in ("single", "offline", "server"))
    cold, growth = throughput["cold"], throughput["drift"]
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
            f"growth of its memory over {growth['scored']:,} clips",
            f"{100 * growth['growth']:+.2f} %",
            "2 %",
            growth["growth"] < 0.02,
        ),
    ]


def scaling(result: Result) -> str:
    """Return what a clip of 15 s at 1280x720 costs one core, beside its floor."""
    found = result["scaling"]["workers"]
    workers, threads = found["rates"][-1], found["one_process"][-1]
    width, height = found["size"]
    return "\n".join([
        _goal_table(cost_rows(result["goals"]), "a clip of 15 s, 1280x720, one core"),
        "",
        "The floor is a bare decode and each network on ready inputs, face detection included; "
        f"acoustic descriptors are not in it. With {found['seconds']:.0f} s clips of "
        f"{width}x{height} and 16 frames, {workers['workers']} workers of one thread score "
        f"{workers['clips_per_s']:.2f} clips per second, one process of {threads['threads']} "
        f"threads {threads['clips_per_s']:.2f}. From {_measured(result)}.",
    ])  # fmt: skip


def cost_rows(goals: Result) -> list[Row]:
    """Return the CPU times of a clip and their ratios to the floor, beside the goals."""
    rows: list[Row] = []
    for name, (goal, shown) in GOALS.items():
        found = goals[name]
        cpu_s, over = found["cpu_s"], found["whole_over_floor"]
        wanted = "" if goal is None else f"{goal} s"
        met = None if goal is None else cpu_s <= goal
        rows.append((f"{shown}: CPU time", f"{cpu_s:.3f} s", wanted, met))
        rows.append(("over its floor", f"{over:.2f} times", f"{OVER_FLOOR}", over <= OVER_FLOOR))
    peak_mb = goals[LARGEST]["peak_rss_mb"]
    shown = f"peak memory of a worker, {GOALS[LARGEST][1]}"
    rows.append((shown, f"{peak_mb:.0f} MB", f"{MOST_MB} MB", peak_mb <= MOST_MB))
    return rows


def engines(result: Result) -> str:
    """Return what each graph costs, by precision and provider."""
    names = ("network", "graph", "precision", "provider")
    heads = (*names, "CPU ms per clip, alone", "in eights", "largest change of a score")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in result["rows"]:
        times = (f"{row[f'cpu_ms_batch_{size}']:.2f}" for size in (1, 8))
        cells = (*(row[name] for name in names), *times)
        lines.append(f"| {' | '.join(cells)} | {row['change_of_scores']:.1e} |")
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return "\n".join([
        *lines,
        "",
        f"Medians on one thread ({versions}). Random weights are there for their time: how far "
        f"their scores move means nothing. From {_measured(result)}.",
    ])  # fmt: skip


def decoding(result: Result) -> str:
    """Return what the decode profiles save and change."""
    lines = [
        "| profile | CPU time, share of `exact` | frames off by, median | PSNR, median "
        "| scores move by, share of their spread |",
        "|---|---|---|---|---|",
    ]
    for name in ("fast", "key"):
        clips = [clip[name] for clip in result["clips"]]
        off_ms = sorted(clip["off_ms_median"] for clip in clips)[len(clips) // 2]
        psnr_db = sorted(clip["psnr_db_median"] for clip in clips)[len(clips) // 2]
        row = result["summary"][name]
        lines.append(
            f"| `{name}` | {row['cpu_share_median']:.2f} | {off_ms:.0f} ms | {psnr_db:.1f} dB | "
            f"{100 * row['share_of_spread']:.0f} % |"
        )
    recordings = ", ".join(
        f"{name}: {row['cpu_s']:.1f} CPU s and {row['peak_mb']:.0f} MB"
        for name, row in result.get("recordings", {}).items()
    )
    note = f" Recordings read by windows of 15 s take {recordings}." if recordings else ""
    return "\n".join([
        *lines,
        "",
        f"16 frames of {len(result['clips'])} clips; the network has {result['weights']} weights."
        f"{note} From {_measured(result)}.",
    ])  # fmt: skip


def _goal_table(rows: list[Row], head: str) -> str:
    verdicts = {True: "met", False: "missed", None: ""}
    lines = [f"| {head} | figure | goal | |", "|---|---|---|---|"]
    lines += [
        f"| {what} | {figure} | {goal} | {verdicts[met]} |" for what, figure, goal, met in rows
    ]
    return "\n".join(lines)


def _measured(result: Result) -> str:
    return (
        f"{source(result)} ({result['processor']}, {result['hardware']}, load average before: "
        f"{result['load']})"
    )
