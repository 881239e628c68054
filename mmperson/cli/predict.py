"""`mmperson predict`: clips to records."""

from __future__ import annotations

import csv
import io
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mmperson.errors import UsageError
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.schema import Prediction


class Format(StrEnum):
    """How records are written."""

    text = "text"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def predict(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP…", help="Video or audio files.")],
    transcript: Annotated[
        Path | None,
        typer.Option(
            help="What is said: .txt, .srt, .vtt or .json. Without it, the file beside the clip "
            "that has its name. For one clip only."
        ),
    ] = None,
    bundle: Annotated[
        str, typer.Option(help="Weights: a shipped bundle's name, or a folder.")
    ] = "impressions-text-audio",
    format: Annotated[
        Format | None,
        typer.Option(
            help="text is for people and the default on a terminal. json, the default elsewhere, "
            "is one record for one clip and a list for several."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the records, not stdout.")] = None,
) -> None:
    """Score clips: apparent Big Five, as observers would rate the person who speaks.

    Exit code 0: every clip was scored. 1: some were not, and their records say why.
    """
    if transcript is not None and len(clips) > 1:
        raise UsageError(f"--transcript belongs to one clip; {len(clips)} were given.")
    from mmperson.runtime.predictor import load

    predictor = load(bundle)
    form = format or (Format.text if out is None and sys.stdout.isatty() else Format.json)
    records = [predictor.predict(clip, transcript) for clip in clips]
    if form is Format.text:
        _print(records, Console(highlight=False))
    elif out is None:
        sys.stdout.write(render(records, form))
    else:
        out.write_text(render(records, form), encoding="utf-8")
        Console(stderr=True, highlight=False).print(f"Wrote {out}.", markup=False)
    failed = [record for record in records if record.error is not None]
    if failed:
        Console(stderr=True, highlight=False).print(
            f"{len(failed)} of {len(records)} clips could not be scored.", markup=False
        )
        raise typer.Exit(1)


def render(records: list[Prediction], form: Format) -> str:
    """Return records as JSON, JSON lines or CSV."""
    rows = [record.to_dict() for record in records]
    if form is Format.jsonl:
        return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    if form is Format.csv:
        return _csv(rows)
    return json.dumps(rows[0] if len(rows) == 1 else rows, indent=2, allow_nan=False) + "\n"


def _csv(rows: list[dict[str, Any]]) -> str:
    columns = ("clip", *TRAITS, "neuroticism", "video", "audio", "text", "duration_s", "model")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "warnings", "error"])
    for row in rows:
        scores = row["scores"] or dict.fromkeys(TRAITS)
        uses = [row["modalities"][name]["use"] for name in ("video", "audio", "text")]
        error = row["error"] and row["error"]["message"]
        facts = [row["neuroticism"], *uses, row["duration_s"], row["model"]]
        told = " ".join(row["warnings"])
        writer.writerow([row["clip"], *(scores[t] for t in TRAITS), *facts, told, error])
    return text.getvalue()


def _print(records: list[Prediction], console: Console) -> None:
    """Draw a bar per trait, for people."""
    for record in records:
        length = "" if record.duration_s is None else f"  {record.duration_s:.1f} s"
        console.print(f"\n[bold]{_plain(record.clip)}[/]{length}")
        if record.scores is None:
            assert record.error is not None
            console.print(f"  [red]not scored[/]  {_plain(record.error.message)}")
            continue
        for trait, score in record.scores.model_dump().items():
            bar = "█" * round(24 * score)
            name = trait.replace("_", " ")
            console.print(f"  {name:<20}[cyan]{bar:<24}[/] {score:.2f}")
        uses = record.modalities.model_dump()
        told = "  ".join(f"{name} {use['use']}" for name, use in uses.items())
        console.print(f"  [dim]{told}  ·  {record.model}  ·  {record.timing_ms['total']:.0f} ms[/]")
        for warning in record.warnings:
            console.print(f"  [yellow]{_plain(warning)}[/]")
    console.print("\n[dim]Apparent impressions by observers: no diagnosis, not for decisions.[/]")


def _plain(text: str) -> str:
    """Make a name or message safe to print: no control characters, no markup."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))
