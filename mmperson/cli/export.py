"""`mmperson export`: a training run to a bundle that scores clips without torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mmperson.cli.terminal import plain
from mmperson.errors import DataError, ExportError, MissingExtra
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.inference.predictor import Predictor

MAX_ACCURACY_DRIFT = 0.002
"""Largest loss of 1-MAE on the given split that a conversion may cost."""


class Bits(StrEnum):
    """What graphs are converted to, see ``mmperson.exporting.quantize.Precision``."""

    int8 = "int8"
    fp32 = "fp32"
    fp16 = "fp16"
    int8_static = "int8-static"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by 'mmperson train'.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to make; a bundle there is replaced.")],
    data: Annotated[Path, typer.Option(help="Manifest whose rows hold the graphs to the network.")],
    split: Annotated[
        str, typer.Option(help="Rows that the bundle's quality is measured on.")
    ] = "validation",
    precision: Annotated[
        Bits,
        typer.Option(
            help="int8: the text encoder's weights; int8-static: besides, the products of the "
            "other encoders, calibrated on training rows; fp16: everything; fp32: as trained."
        ),
    ] = Bits.int8,
) -> None:
    """Export a run to ONNX, hold it to the network, and measure it."""
    try:
        from mmperson.exporting import export_run
        from mmperson.training import score_run
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "onnx", "train,export") from error
    import numpy as np

    from mmperson.datasets import read_manifest
    from mmperson.evaluation.evaluate import evaluate_split
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
        lost = int((np.isnan(scores) & ~np.isnan(original)).any(axis=1).sum())
        if lost or not drift <= MAX_ACCURACY_DRIFT:
            raise ExportError(
                f"The bundle's 1-MAE on {split} is {drift:.4f} below the network's, and {lost} of "
                f"{len(rows)} rows have no scores any more; {MAX_ACCURACY_DRIFT} and none are "
                "allowed.",
                hint="Export with --precision fp32.",
            )
        return metrics

    learned = manifest.where_split("train")
    info = export_run(
        run,
        out,
        rows,
        precision=precision.value,
        calibration=learned if len(learned) else None,
        measure=measure,
    )
    for gate, difference in info.parity.items():
        talk.print(f"Scores of the {gate} graphs differ by at most {difference:.2g}.")
    size = sum(file.bytes for file in info.files.values()) / 1e6
    talk.print(f"Wrote {plain(str(out))} ({size:.1f} MB).")
    talk.print(f"Next: mmperson predict CLIP --bundle {plain(str(out))}")
