"""Render records as text, JSON, JSON lines or CSV, one by one."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

from rich.console import Console

from mmperson.cli.terminal import plain, visible
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.schema import Prediction

_COLUMNS = ("clip", *TRAITS, "neuroticism", "video", "audio", "text", "duration_s", "model")
_SHORT = ("openness", "conscient.", "extravers.", "agreeable.", "stability")
_DISCLAIMER = "Apparent impressions by observers: no diagnosis, not for decisions."


Format = Literal["text", "json", "jsonl", "csv"]
"""Output format of records."""


def render(
    records: Iterable[Prediction],
    form: Format,
    stream: TextIO,
    *,
    several: bool,
    others: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the text of each record as soon as the record arrives.

    Args:
        records: The records.
        form: Output format.
        stream: Destination; text has colours if it is a terminal.
        several: Whether JSON is a list of records or a single one.
        others: Names of scores other than the traits, which become CSV columns.
    """
    match form:
        case "text":
            yield from _text(records, Console(file=stream, highlight=False, soft_wrap=True))
        case "json":
            yield from _json(records, several=several)
        case "jsonl":
            yield from (json.dumps(record.to_dict(), allow_nan=False) + "\n" for record in records)
        case "csv":
            escape = visible if stream.isatty() else str  # a file keeps names unchanged
            head = [*_COLUMNS, "warnings", "error", "start_s", "end_s", *others]
            yield _line(head, escape)
            yield from (_line(_cells(record.to_dict(), others), escape) for record in records)


def _json(records: Iterable[Prediction], *, several: bool) -> Iterator[str]:
    """Yield indented JSON, as a list for several records."""
    before = "[\n"
    for record in records:
        piece = json.dumps(record.to_dict(), indent=2, allow_nan=False)
        yield before + textwrap.indent(piece, "  ") if several else f"{piece}\n"
        before = ",\n"
    if several:
        yield "[]\n" if before == "[\n" else "\n]\n"


def _line(cells: Iterable[Any], escape: Callable[[str], str]) -> str:
    text = io.StringIO()
    escaped = (escape(cell) if isinstance(cell, str) else cell for cell in cells)
    # The line terminator decides what is quoted: with "\n" only, "\r" would start a new row.
    csv.writer(text, lineterminator="\r\n").writerow(escaped)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _cells(row: dict[str, Any], others: Sequence[str]) -> list[Any]:
    scores = row["scores"] or dict.fromkeys(TRAITS)
    uses = [row["modalities"][name]["use"] for name in ("video", "audio", "text")]
    facts = [row["neuroticism"], *uses, row["duration_s"], row["model"]]
    messages = [" ".join(row["warnings"]), row["error"] and row["error"]["message"]]
    times = [row["start_s"], row["end_s"]]
    more = [row["other_scores"].get(name) for name in others]
    traits = (scores[trait] for trait in TRAITS)
    return [_no_formula(row["clip"]), *traits, *facts, *messages, *times, *more]


def _no_formula(clip: str) -> str:
    """Return a path of the same file that a spreadsheet does not treat as a formula."""
    return f"./{clip}" if clip.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else clip


def _text(records: Iterable[Prediction], console: Console) -> Iterator[str]:
    """Yield a bar per trait of a clip, or a line per window of a recording."""
    printed: set[str] = set()
    is_first = True
    for record in records:
        with console.capture() as drawn:
            if record.start_s is None:
                _draw(record, console)
            else:
                _draw_window(record, console, printed, is_first=is_first)
        is_first = False
        yield drawn.get()
    with console.capture() as drawn:
        console.print(f"\n[dim]{_DISCLAIMER}[/]")
    yield drawn.get()


def _draw(record: Prediction, console: Console) -> None:
    length = "" if record.duration_s is None else f"  {record.duration_s:.1f} s"
    console.print(f"\n[bold]{plain(record.clip)}[/]{length}")
    if record.scores is None:
        assert record.error is not None
        console.print(f"  [red]not scored[/]  {plain(record.error.message)}")
        return
    for trait, score in record.scores.model_dump().items():
        bar = "█" * round(24 * score)
        name = trait.replace("_", " ")
        console.print(f"  {name:<20}[cyan]{bar:<24}[/] {score:.2f}")
    for name, score in record.other_scores.items():
        console.print(f"  {plain(name):<44} {score:.2f}")
    uses = record.modalities.model_dump()
    used = "  ".join(f"{name} {use['use']}" for name, use in uses.items())
    took = f"{record.timing_ms['total']:.0f} ms"
    console.print(f"  [dim]{used}  ·  {plain(record.model)}  ·  {took}[/]")
    for warning in record.warnings:
        console.print(f"  [yellow]{plain(warning)}[/]")


def _draw_window(
    record: Prediction, console: Console, printed: set[str], *, is_first: bool
) -> None:
    """Draw a line, and warnings that were not printed before."""
    if is_first:
        length = "" if record.duration_s is None else f"  {record.duration_s:.1f} s"
        console.print(f"\n[bold]{plain(record.clip)}[/]{length}  [dim]{plain(record.model)}[/]")
        heads = " ".join(f"{name:>10}" for name in _SHORT)
        console.print(f"[dim]{'seconds':>17} {heads}[/]")
    scores = {} if record.scores is None else record.scores.model_dump()
    columns = " ".join(f"{score:10.2f}" for score in scores.values()) or "  [red]not scored[/]"
    console.print(f"[dim]{record.start_s:8.1f} {record.end_s:8.1f}[/] {columns}")
    failure = [] if record.error is None else [record.error.message]
    for words in (*failure, *record.warnings):
        if words not in printed:
            printed.add(words)
            console.print(f"  [yellow]{plain(words)}[/]")
