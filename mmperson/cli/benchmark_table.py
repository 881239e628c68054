"""Print a benchmark report: the environment, and a table per scenario."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from mmperson.benchmark.scenarios import Report
from mmperson.cli.terminal import plain

_METRICS: Final = {"accuracy": "1-MAE", "r2": "R²", "pcc": "PCC", "ccc": "CCC"}
_CLIPS_SHOWN: Final = 5
_NONE: Final = "–"


def print_report(report: Report, console: Console) -> None:
    """Print the environment and each measured scenario."""
    _print_subject(report, console)
    if report.single is not None:
        single = report.single
        _print(
            console,
            f"Single stream: one clip at a time, {single.scored:,} scored",
            ["p50 ms", "p95 ms", "p99 ms", "CPU s/clip", "× real time"],
            [
                [
                    *map(_ms, (single.wall.p50_s, single.wall.p95_s, single.wall.p99_s)),
                    _number(single.cpu_s_per_clip, 3),
                    _number(single.times_real_time, 1),
                ]
            ],
        )
        stages = ", ".join(f"{name} {_ms(took)}" for name, took in single.stages_s.items())
        console.print(f"Of {_ms(single.mean_s)} ms on average: {stages}.")
    if report.offline is not None:
        _print(
            console,
            "Offline: all clips are available",
            ["workers", "clips/s", "× one worker", "CPU s/clip", "peak RSS MB", "scored"],
            (
                [
                    f"{rate.workers}",
                    _number(rate.clips_per_s, 2),
                    _number(rate.scaling, 2),
                    _number(rate.cpu_s_per_clip, 3),
                    _number(rate.peak_rss_mb, 0),
                    f"{rate.scored:,}",
                ]
                for rate in report.offline
            ),
        )
        if len(report.offline) > 1:
            console.print("The scores are bit-identical for any number of workers.")
    if report.server is not None:
        _print_server(report, console)
    if report.cold is not None:
        cold = report.cold
        _print(
            console,
            f"Cold start: the first score of a new process, medians of {cold.runs}",
            ["import s", "bundle s", "clip s", "whole process s", "CPU s", "peak RSS MB"],
            [
                [
                    *(_number(value, 2) for value in (cold.import_s, cold.bundle_s, cold.clip_s)),
                    _number(cold.process_s, 2),
                    _number(cold.cpu_s, 2),
                    _number(cold.peak_rss_mb, 0),
                ]
            ],
        )
    if report.drift is not None:
        drift = report.drift
        console.print(
            f"\n[bold]Memory of a worker[/]: {drift.first_mb:,.1f} MB after a tenth of "
            f"{drift.scored:,} clips, {drift.last_mb:,.1f} MB after all, {drift.growth:+.1%}"
        )
    if report.circumstances.busy:
        load, count = report.circumstances.load, report.circumstances.processors
        console.print(
            f"\n[yellow]The machine was busy: load {load} on {count} processors. Only CPU times "
            "are valid; repeat the measurement when nothing else runs.[/]"
        )


def _print_subject(report: Report, console: Console) -> None:
    facts, bundle = report.circumstances, report.bundle
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    precision = ", ".join(f"{name} {kind}" for name, kind in bundle.precision.items())
    sound = f"the first {bundle.sound_s:g} s of sound" if bundle.sound_s else "no sound"
    reads = f"reads {bundle.frames or 'no'} frames, {sound}"
    if "text" in bundle.reads:
        reads += ", words"
    table.add_row("bundle", plain(f"{bundle.model}: {reads}; {precision}"))
    for rows, values in bundle.quality.items():
        metrics = " · ".join(
            f"{label} {_number(values[name], 3)}"
            for name, label in _METRICS.items()
            if name in values
        )
        table.add_row("quality", plain(f"{metrics}  ({rows}, {values['n']:,} clips)"))
    if not bundle.quality:
        table.add_row("quality", "not stated by the bundle: this report shows only speed")
    for clip in report.clips[:_CLIPS_SHOWN]:
        size = "no video" if clip.width is None else f"{clip.width}×{clip.height} pixels"
        length = "unknown length" if clip.duration_s is None else f"{clip.duration_s:.1f} s"
        used = ", ".join(clip.used)
        table.add_row("clip", plain(f"{clip.clip}: {length}, {size}; used: {used}"))
    if len(report.clips) > _CLIPS_SHOWN:
        table.add_row("", f"and {len(report.clips) - _CLIPS_SHOWN:,} more")
    table.add_row("runs on", report.provider)
    table.add_row("decoding", report.decode)
    load = "unknown" if facts.load is None else f"{facts.load}"
    count = f"{facts.usable} of {facts.processors} processors usable"
    table.add_row("machine", plain(f"{facts.processor}, {count}, load {load} at the start"))
    versions = "  ".join(f"{name} {version}" for name, version in facts.versions.items())
    table.add_row("versions", plain(versions))
    if facts.commit is not None:
        table.add_row("commit", facts.commit)
    console.print(table)


def _print_server(report: Report, console: Console) -> None:
    server = report.server
    assert server is not None
    rows = (
        [
            _number(probe.rate_per_s, 2),
            f"{probe.requests:,}",
            "yes" if probe.kept else "no",
            *(
                [_NONE] * 3
                if probe.wall is None
                else map(_ms, (probe.wall.p50_s, probe.wall.p95_s, probe.wall.p99_s))
            ),
        ]
        for probe in sorted(server.probes, key=lambda probe: probe.rate_per_s)
    )
    _print(
        console,
        f"Server: random arrivals, {server.workers} workers, queueing included",
        ["requests/s", "requests", "kept", "p50 ms", "p95 ms", "p99 ms"],
        rows,
    )
    bound = f"95 % of the answers within {_ms(server.bound_s)} ms"
    if server.rate_per_s is None:
        console.print(f"[yellow]No tested rate kept {bound}.[/]")
    else:
        console.print(f"Up to [bold]{server.rate_per_s:.2f}[/] requests/s kept {bound}.")


def _print(
    console: Console, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(f"\n[bold]{title}[/]")
    console.print(table)


def _ms(value_s: float) -> str:
    return f"{1e3 * value_s:,.1f}"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"
