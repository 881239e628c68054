"""`mmperson benchmark`: how fast this machine scores your clips."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from mmperson.cli.output import check_output_path, info, replacing, to_stdout, write
from mmperson.errors import UsageError


def benchmark(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP…", help="Video or audio files, or folders of them.")
    ],
    bundle: Annotated[
        str, typer.Option(help="Weights: a shipped bundle's name, or a folder.")
    ] = "impressions-text-audio",
    scenario: Annotated[
        Literal["single", "offline", "server", "cold", "all"],
        typer.Option(
            help="single: one clip at a time. offline: many clips, with 1, 2, 4, … workers. "
            "server: requests with random arrival times. cold: the first score of a new process."
        ),
    ] = "all",
    provider: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="Where the networks run, as for predict.")
    ] = "cpu",
    decode: Annotated[
        Literal["exact", "fast", "key"],
        typer.Option(help="Which frames of a video are decoded, as for predict."),
    ] = "exact",
    workers: Annotated[
        int | None, typer.Option(help="Largest number of processes; default: one per processor.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="MB",
            help="Memory limit of a clip in a worker, default 2048. CUDA needs more.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Shortest time per measurement.")] = 5.0,
    bound: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Latency bound for 95 % of the server's requests; default: five times the median "
            "of a single stream.",
        ),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(metavar="CLIPS", help="Also measure a worker's memory over these."),
    ] = 0,
    format: Annotated[Literal["text", "json"], typer.Option(help="Result on stdout.")] = "text",
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
) -> None:
    """Measure how fast this machine scores your clips, and show the bundle's quality.

    All scenarios take about a minute. Measure when nothing else runs.
    """
    from mmperson.pool.worker import SINGLE_THREAD_ENV

    os.environ.update(SINGLE_THREAD_ENV)  # before numpy is imported
    from mmperson.media.folders import expand_folders

    clips = expand_folders(clips)
    if out is not None:
        check_output_path(out, clips, None)
    elif sys.stdout is None:
        raise UsageError("Standard output is closed.", hint="Give --out FILE.")
    from mmperson.benchmark.scenarios import SCENARIOS, measure
    from mmperson.cli.benchmark_table import print_report
    from mmperson.inference.bundle import open_bundle
    from mmperson.pool.worker_pool import DEFAULT_MEMORY_MB

    opened = open_bundle(bundle)
    try:
        report = measure(
            opened,
            clips,
            SCENARIOS if scenario == "all" else (scenario,),
            provider=provider,
            decode=decode,
            workers=workers,
            memory_mb=DEFAULT_MEMORY_MB if memory is None else memory,
            seconds=seconds,
            bound_s=bound,
            repeat=repeat,
            on_stage=lambda stage: info(f"{stage} …"),  # a spinner's thread would be measured
        )
    except KeyboardInterrupt:
        info("Interrupted: the measurement is discarded.")
        raise typer.Exit(130) from None
    text = json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    if out is not None:
        with replacing(out) as file:
            write([text], file)
    if format == "json":
        with to_stdout() as stream:
            write([text], stream)
    else:
        print_report(report, Console(highlight=False))
    if out is not None:
        info(f"Wrote {out}.")
