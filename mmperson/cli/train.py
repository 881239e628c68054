"""`mmperson train`: train a recipe into a run folder."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mmperson.cli.terminal import plain, stderr_console
from mmperson.errors import UsageError


def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Recipe, a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Run folder; an interrupted run resumes.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved recipe and stop.")
    ] = False,
) -> None:
    """Train a recipe. Flags override its keys, such as --optim.lr 1e-4."""
    from mmperson.config import load_recipe

    recipe = load_recipe(config, parse_overrides(context.args))
    if print_config:
        sys.stdout.write(recipe.to_yaml())
        return
    if out is None:
        raise UsageError("The run folder is missing.", hint="Add --out RUN.")
    from mmperson.api import train as train_recipe

    # Under torchrun every process runs this command; only rank 0 prints.
    console = stderr_console(quiet=os.environ.get("RANK", "0") != "0")
    console.print(
        f"Training [bold]{plain(recipe.name)}[/] into {plain(str(out))}; seed {recipe.seed}."
    )
    start = time.monotonic()

    def on_epoch(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        spent = time.monotonic() - start
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        console.print(f"epoch {epoch:>3}/{epochs}  {numbers}  {spent:.0f} s")

    def on_note(sentence: str) -> None:
        console.print(f"[yellow]{plain(sentence)}[/]")

    result = train_recipe(recipe, out, on_epoch=on_epoch, on_note=on_note)
    chosen = "the last epoch" if result.best is None else f"selection metric {result.best:.4f}"
    console.print(f"Trained on {result.train_rows} rows; kept {chosen}.")
    console.print(f"Wrote {plain(str(result.run))}.")
    console.print(f"Next: mmperson export {plain(str(result.run))} --out BUNDLE --data MANIFEST")


def parse_overrides(arguments: list[str]) -> dict[str, str]:
    """Read ``--section.key value`` and ``--section.key=value`` flags.

    Raises:
        UsageError: An argument is not a flag, or a flag has no value.
    """
    overrides: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--"):
            raise UsageError(f"{word!r} is unexpected.", hint="Flags look like --optim.lr 1e-4.")
        key, equals, value = word[2:].partition("=")
        if not equals:
            given = next(words, None)
            if given is None:
                raise UsageError(f"{word} needs a value.")
            value = given
        overrides[key] = value
    return overrides
