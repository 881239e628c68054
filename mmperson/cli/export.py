"""`mmperson export`: a training run to a bundle that scores clips without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mmperson.cli.terminal import plain
from mmperson.errors import DataError, ExportError, MissingExtra
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.runtime.predictor import Predictor

MAX_ACCURACY_DRIFT = 0.002
"""Largest loss of 1-MAE on the given split that int8 weights may cost."""


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by 'mmperson train'.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to make; a bundle there is replaced.")],
    data: Annotated[Path, typer.Option(help="Manifest whose rows hold the graphs to the network.")],
    split: Annotated[
        str, typer.Option(help="Rows that the bundle's quality is measured on.")
    ] = "validation",
    fp32: Annotated[bool, typer.Option("--fp32", help="Leave the text encoder in fp32.")] = False,
) -> None:
    """Export a run to ONNX, hold it to the network, and measure it."""
    try:
        from mmperson.export import export_run
        from mmperson.training import score_run
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "onnx", "train,export") from error
    import numpy as np

    from mmperson.data import read_manifest
    from mmperson.evaluation.run import evaluate_split
    from mmperson.evaluation.scoring import score_bundle

    talk = Console(stderr=True, highlight=False)
    manifest = read_manifest(data)
    rows = manifest.where_split(split)
    if not len(rows):
        raise DataError(
            f"{str(data)!r} has no rows in the split {split!r}.",
            hint="Give another --split: the graphs are held to the network on its rows.",
        )

    def measure(predictor: Predictor) -> dict[str, Any]:
        talk.print(f"Measuring on {len(rows)} rows of {split} …")
        scores = score_bundle(predictor, rows)
        metrics: dict[str, Any] = {}
        for protocol in ("official", "unseen"):
            try:
                result = evaluate_split(scores, manifest, split, protocol=protocol).to_dict()
            except DataError:
                continue  # No row is of an unseen source, or all are of one person.
            metrics[f"{split}, {protocol}"] = {
                "n": result["n"],
                "mean": result["mean"],
                "intervals": result["intervals"]["mean"],
            }
        original = score_run(run, rows)[:, : len(TRAITS)]
        errors = (np.nanmean(np.abs(found - rows.targets)) for found in (scores, original))
        drift = float(next(errors) - next(errors))
        talk.print(f"1-MAE on {split}: {drift:+.5f} lost by the export.")
        if drift > MAX_ACCURACY_DRIFT:
            raise ExportError(
                f"The bundle's 1-MAE on {split} is {drift:.4f} below the network's; "
                f"{MAX_ACCURACY_DRIFT} is allowed.",
                hint="Export with --fp32.",
            )
        return metrics

    info = export_run(run, out, rows, int8_text=not fp32, measure=measure)
    for gate, difference in info.parity.items():
        talk.print(f"Scores of the {gate} graphs differ by at most {difference:.2g}.")
    size = sum(file.bytes for file in info.files.values()) / 1e6
    talk.print(f"Wrote {plain(str(out))} ({size:.1f} MB).")
    talk.print(f"Next: mmperson predict CLIP --bundle {plain(str(out))}")
