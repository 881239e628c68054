"""`mmperson data`: import, check, describe and cache corpora, and fit pairwise comparisons."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from mmperson.cli.cache import cache
from mmperson.cli.progress import progress_bar
from mmperson.cli.terminal import plain, stderr_console
from mmperson.errors import DataError

if TYPE_CHECKING:
    from mmperson.datasets import Manifest, Report, Stats

app = typer.Typer(
    help="Import corpora as manifests, and check and describe them.", no_args_is_help=True
)

app.command("cache", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    cache
)

_EXAMPLES_SHOWN: Final = 3
_BASELINE_METRICS: Final = {"accuracy": "1-MAE", "r2": "R²", "pcc": "PCC"}


ManifestFile = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="A file that `data import` wrote.")
]
FormatOption = Annotated[
    Literal["text", "json"],
    typer.Option("--format", help="Tables for people, or JSON for programs."),
]


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Name of the corpus: avi, first-impressions, folder, recruitview or youtube.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the corpus.")],
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
) -> None:
    """Import a published corpus as one manifest."""
    from mmperson.datasets import import_corpus, write_manifest

    manifest = import_corpus(source, folder)
    write_manifest(manifest, out)
    console = stderr_console()
    console.print(f"{_summary(manifest)}.\nWrote {plain(str(out))}")
    console.print(f"Next: mmperson data check {plain(str(out))}", style="dim")


@app.command()
def planted(
    out: Annotated[Path, typer.Argument(help="Folder for the clips and the manifest.")],
    footage: Annotated[
        Path | None, typer.Option(help="Folder of videos; default: drawn faces.")
    ] = None,
    clips: Annotated[int, typer.Option(help="Number of clips.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Make a synthetic corpus whose traits are known functions of video, audio and text."""
    from mmperson.datasets.synthetic import make_synthetic

    with progress_bar("writing clips") as on_progress:
        manifest = make_synthetic(out, clips=clips, footage=footage, seed=seed, on_clip=on_progress)
    console = stderr_console()
    console.print(f"{_summary(manifest)}.\nWrote {plain(str(out / 'manifest.parquet'))}")


@app.command()
def check(
    manifest: ManifestFile,
    format: FormatOption = "text",
    probe: Annotated[
        bool,
        typer.Option("--probe/--no-probe", help="Open clips, or only check that they exist."),
    ] = True,
) -> None:
    """Check a manifest for errors, leakage and missing data; exit code 2 on errors."""
    from mmperson.datasets import check_manifest, read_manifest

    rows = read_manifest(manifest)
    with progress_bar("opening clips") as on_progress:
        report = check_manifest(rows, probe=probe, progress=on_progress)
    if format == "json":
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print_report(report)
    if report.errors:
        raise DataError(
            f"{str(manifest)!r} has errors.",
            findings=[
                f"{f.message}, such as {', '.join(f.examples)}" if f.examples else f.message
                for f in report.errors
            ],
        )
    warnings = len(report.warnings)
    checked = "opened" if probe else "not opened"
    stderr_console().print(
        f"No errors and {warnings or 'no'} warning{'' if warnings == 1 else 's'} "
        f"in {plain(str(manifest))}; clips were {checked}."
    )


@app.command()
def stats(manifest: ManifestFile, format: FormatOption = "text") -> None:
    """Show statistics of labels and transcripts, and the scores of trivial baselines."""
    from mmperson.datasets import compute_stats, read_manifest
    from mmperson.evaluation import score_baselines

    rows = read_manifest(manifest)
    described = compute_stats(rows)
    baselines = score_baselines(rows, tuple(_BASELINE_METRICS))
    if format == "json":
        typer.echo(json.dumps({**described.to_dict(), "baselines": baselines}, indent=2))
    else:
        _print_stats(described, baselines)
    stderr_console().print(
        f"Statistics of {plain(str(manifest))}; compare results with these baselines."
    )


@app.command("fit-pairwise")
def fit_pairwise(
    comparisons: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="Columns trait, winner, loser and, optionally, group."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The CSV file to write.")],
    penalty: Annotated[
        float,
        typer.Option("--penalty", help="Weight of the nuclear norm; about 1 is the noise level."),
    ] = 0.75,
) -> None:
    """Fit a score per clip and trait to pairwise comparisons of clips."""
    from mmperson.datasets.pairwise import fit_pairwise, read_comparisons, write_scores

    judged = read_comparisons(comparisons)
    fit = fit_pairwise(judged, penalty)
    write_scores(fit, out)
    console = stderr_console()
    console.print(
        f"{len(judged):,} comparisons of {len(judged.clip):,} clips on {len(judged.traits)} "
        f"traits: scores of rank {fit.rank}; a comparison's mean log-likelihood is "
        f"{fit.likelihood:.3f} (by chance {math.log(0.5):.3f})."
    )
    groups = judged.split_groups()
    if groups:
        named = ", ".join(repr(group) for group in groups[:_EXAMPLES_SHOWN])
        console.print(
            f"Warning: the comparisons of {len(groups):,} groups, such as {plain(named)}, are not "
            "connected; scores of unconnected clips cannot be compared.",
            style="yellow",
        )
    console.print(f"Wrote {plain(str(out))}")


def _summary(manifest: Manifest) -> str:
    from mmperson.datasets import SPLITS

    splits = {name: int((manifest.split == name).sum()) for name in SPLITS}
    parts = ", ".join(f"{count:,} {name}" for name, count in splits.items() if count)
    clips = sum(clip is not None for clip in manifest.clip)
    return f"{len(manifest):,} clips ({parts}); {clips:,} with a video file"


def _print_report(report: Report) -> None:
    out = Console(highlight=False)
    table = _table("Split", "Clips", "Sources", "Files", "Texts", "Descriptors", "Unseen source")
    for split, facts in report.splits.items():
        unseen = "" if split == "train" else f"{facts.unseen_source:,}"
        counts = (facts.rows, facts.sources, facts.clips, facts.transcripts, facts.descriptors)
        table.add_row(split, *(f"{count:,}" for count in counts), unseen)
    out.print(table)
    findings = Table.grid(padding=(0, 2, 0, 0))
    for finding in report.findings:
        colour = "red" if finding.level == "error" else "yellow"
        examples = finding.examples[:_EXAMPLES_SHOWN]
        more = ", …" if finding.count > len(examples) else ""
        findings.add_row(
            f" [{colour}]{finding.level}[/]",
            f"{plain(finding.message)}\n[dim]{plain(', '.join(examples))}{more}[/]",
        )
    out.print(findings)


def _print_stats(stats: Stats, baselines: dict[str, Any]) -> None:
    out = Console(highlight=False)
    labels = _table("Label (training split)", "Mean", "Std", "Min", "Max")
    for name, label in stats.labels.items():
        figures = (label.mean, label.std, label.minimum, label.maximum)
        labels.add_row(plain(name.replace("_", " ")), *map("{:.4f}".format, figures))
    words = _table("Words per transcript", "Clips", "Blank", "Mean", "Median", "Max")
    for split, count in stats.words.items():
        clips = (f"{stats.rows[split]:,}", f"{count.blank:,}")
        words.add_row(split, *clips, f"{count.mean:.1f}", f"{count.median:.0f}", f"{count.maximum}")
    headers = ("Baselines", "Protocol", "Predictor", *_BASELINE_METRICS.values())
    trivial = _table(*headers, text=3)
    for split, protocols in baselines.items():
        for protocol, results in protocols.items():
            for name, values in results.items():
                scores = [f"{values[metric]:.4f}" for metric in _BASELINE_METRICS]
                trivial.add_row(split, protocol, name.replace("_", " "), *scores)
            trivial.add_section()
    for table in (labels, words, trivial):
        if table.rows:
            out.print(table)


def _table(*headers: str, text: int = 1) -> Table:
    """Return a table with left-aligned text columns, then right-aligned numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, header in enumerate(headers):
        table.add_column(header, justify="left" if place < text else "right", no_wrap=True)
    return table
