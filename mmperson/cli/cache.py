"""`mmperson data cache`: decode the clips of a recipe before it is trained."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer

from mmperson.cli.progress import progress_bar
from mmperson.cli.terminal import plain, stderr_console
from mmperson.cli.train import parse_overrides
from mmperson.errors import MissingExtra

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
    from mmperson.config import load_recipe
    from mmperson.pool.worker_pool import WorkerLimits

    try:
        from mmperson.training.caching import cache_clips
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train") from error

    recipe = load_recipe(config, parse_overrides(context.args))
    limits = WorkerLimits(workers, timeout, memory)
    with progress_bar("decoding") as on_progress:
        made = cache_clips(recipe, folder, limits, on_progress)
    console = stderr_console()
    for clip, reason in islice(made.refused.items(), _NAMED_CLIPS):
        console.print(f"{plain(clip)}: {plain(reason)}", style="yellow")
    if len(made.refused) > _NAMED_CLIPS:
        console.print(f"and {len(made.refused) - _NAMED_CLIPS:,} more clips", style="yellow")
    if made.unread:
        console.print(
            f"{made.unread:,} of {made.rows:,} rows have no picture or sound that can be read; "
            f"see: mmperson data check {plain(str(recipe.data.manifest))}",
            style="yellow",
        )
    console.print(f"{made.rows - made.unread:,} rows are ready.\nWrote {plain(str(made.folder))}")
    console.print(f"Next: mmperson train {plain(str(config))} --run.cache {plain(str(folder))}")
