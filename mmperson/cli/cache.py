"""`mmperson data cache`: decode the clips of a recipe before training."""

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
        Path, typer.Option("--cache", help="The run.cache of the runs; cached clips are kept.")
    ],
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes; default: one per processor."),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Timeout per clip.")] = 300.0,
    memory: Annotated[
        float, typer.Option(metavar="MB", help="Memory limit per clip, on Linux.")
    ] = 2048.0,
) -> None:
    """Decode a recipe's clips once for all runs with this run.cache. Accepts the flags of train."""
    from mmperson.config import load_recipe
    from mmperson.pool.worker_pool import WorkerLimits

    try:
        from mmperson.training.caching import cache_clips
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train") from error

    recipe = load_recipe(config, parse_overrides(context.args))
    limits = WorkerLimits(workers, timeout, memory)
    with progress_bar("decoding") as on_progress:
        result = cache_clips(recipe, folder, limits, on_progress)
    console = stderr_console()
    for clip, reason in islice(result.refused.items(), _NAMED_CLIPS):
        console.print(f"{plain(clip)}: {plain(reason)}", style="yellow")
    if len(result.refused) > _NAMED_CLIPS:
        console.print(f"and {len(result.refused) - _NAMED_CLIPS:,} more clips", style="yellow")
    if result.unread:
        console.print(
            f"{result.unread:,} of {result.rows:,} rows have no readable video or audio; "
            f"see: mmperson data check {plain(str(recipe.data.manifest))}",
            style="yellow",
        )
    console.print(
        f"{result.rows - result.unread:,} rows are cached.\nWrote {plain(str(result.folder))}"
    )
    console.print(f"Next: mmperson train {plain(str(config))} --run.cache {plain(str(folder))}")
