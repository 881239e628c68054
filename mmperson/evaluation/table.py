"""Print an evaluation as a table, with a one-sentence verdict."""

from __future__ import annotations

import math
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from mmperson.evaluation.evaluate import Evaluation

_HEADERS: Final = {
    "accuracy": "1-MAE",
    "mse": "MSE",
    "r2": "R²",
    "pcc": "PCC",
    "ccc": "CCC",
    "spearman": "SRCC",
    "cindex": "C-index",
    "skill": "Skill",
}
_DIGITS: Final = {"accuracy": 4, "mse": 4}


def print_evaluation(result: Evaluation, console: Console) -> None:
    """Print traits, their mean with its 95 % interval, the baselines and the verdict."""
    console.print(
        f"[bold]{result.split}[/], {result.protocol} protocol: "
        f"{result.n:,} clips of {result.n_sources:,} source videos"
    )
    partly = [
        f"{trait.replace('_', ' ')} {rows:,}"
        for trait, rows in result.labelled.items()
        if rows < result.n
    ]
    if partly:
        console.print(f"Rated clips, where not all: {', '.join(partly)}.", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("")
    for name in result.mean:
        table.add_column(_HEADERS[name], justify="right", no_wrap=True)
    for trait, values in result.traits.items():
        _add(table, trait.replace("_", " "), values)
    table.add_section()
    _add(table, "mean", result.mean, "bold")
    for side, label in enumerate(("  95 % from", "  95 % to")):
        _add(table, label, {n: pair[side] for n, pair in result.intervals["mean"].items()}, "dim")
    if result.folds is not None:
        _add(table, f"  sd of {len(result.folds.per_fold)} folds", result.folds.sd, "dim")
    table.add_section()
    for name, values in result.baselines.items():
        _add(table, name.replace("_", " "), values, "cyan")
    console.print(table)
    if result.given_words:
        partial = _format_number(result.given_words["mean"], 3)
        console.print(f"SRCC given the word count of the transcripts: {partial}")
    console.print(verdict(result), soft_wrap=True)


def verdict(result: Evaluation) -> str:
    """Return one sentence that compares the predictions with the best baseline."""
    if result.difference is None or result.best_baseline is None:
        return "There is no baseline to compare with."
    low, high = result.difference.intervals["mean"]["accuracy"]
    difference = result.difference.mean["accuracy"]
    name = result.best_baseline.replace("_", " ")
    interval = f"({low:+.4f} to {high:+.4f}, paired over source videos)"
    claim = "Better than" if low > 0 else "Worse than" if high < 0 else "Not distinguishable from"
    scored = f"{result.n:,} of {result.n + result.missing:,} rows"
    coverage = f" Evaluated on {scored}: the others have no prediction." if result.missing else ""
    return (
        f"{claim} the best baseline, {name}: 1-MAE differs by {difference:+.4f} {interval}, "
        f"R² by {result.difference.mean['r2']:+.3f}.{coverage}"
    )


def _add(table: Table, label: str, values: dict[str, float], style: str = "") -> None:
    table.add_row(
        label, *(_format_number(v, _DIGITS.get(n, 3)) for n, v in values.items()), style=style
    )


def _format_number(value: float, digits: int) -> str:
    """Format without the leading zero, so that the table fits into 80 columns."""
    if math.isnan(value):
        return "–"
    return f"{value:z.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"
