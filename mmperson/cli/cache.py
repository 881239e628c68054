"""`mmperson data cache`: decode the clips of a recipe before it is trained."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmperson.cli.terminal import plain
from mmperson.cli.train import parse_overrides
from mmperson.errors import MissingExtra, UsageError

_NAMED_CLIPS: Final = 10


def cache(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Recipe, a YAML file.")],
    folder: Annotated[
        Path, typer.Option("--cache", help="The run.cache of the trainings; what is there stays.")
    ],
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that decode side by side; one per processor without it."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time that a clip may take.")
    ] = 300.0,
    memory: Annotated[
        float, typer.Option(metavar="MB", help="Memory that a clip may take, on Linux.")
    ] = 2048.0,
) -> None:
    """Decode a recipe's clips once, for all runs with this run.cache. Takes flags as train does."""
    import numpy as np

    from mmperson.config import load_recipe
    from mmperson.datasets import read_manifest
    from mmperson.datasets.cache import FeatureCache
    from mmperson.datasets.decoding import decode_clips, refusals
    from mmperson.pool.worker_pool import WorkerLimits

    try:
        from mmperson.models.input_spec import input_spec
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train") from error

    limits = WorkerLimits(workers, timeout, memory)
    recipe = load_recipe(config, parse_overrides(context.args))
    spec = input_spec(recipe)
    if spec.video is None and spec.audio is None:
        raise UsageError("The recipe reads words alone: there is nothing to decode.")
    manifest = read_manifest(recipe.data.manifest)
    splits = [recipe.data.train_split, recipe.data.select_split]
    rows = manifest.select(np.isin(manifest.split, [name for name in splits if name]))
    kept = FeatureCache(folder / spec.hash[:16], spec)
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as bar:
        task = bar.add_task("", total=len(rows))
        unread = decode_clips(
            rows, spec, kept, limits, lambda done: bar.update(task, completed=done)
        )
    refused = refusals(rows, spec, kept)
    for clip, reason in islice(refused.items(), _NAMED_CLIPS):
        talk.print(f"{plain(clip)}: {plain(reason)}", style="yellow")
    if len(refused) > _NAMED_CLIPS:
        talk.print(f"and {len(refused) - _NAMED_CLIPS:,} more clips", style="yellow")
    if unread:
        talk.print(
            f"{unread:,} of {len(rows):,} rows have no picture or sound that can be read; "
            f"see: mmperson data check {plain(str(recipe.data.manifest))}",
            style="yellow",
        )
    talk.print(f"{len(rows) - unread:,} rows are ready.\nWrote {plain(str(kept.folder))}")
    talk.print(f"Next: mmperson train {plain(str(config))} --run.cache {plain(str(folder))}")
