"""`mmperson evaluate`: compare a bundle, a run or a prediction file with observers' ratings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from mmperson.cli.terminal import stderr_console
from mmperson.files import atomic_write
from mmperson.schema import MODALITIES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mmperson.datasets.manifest import Manifest


def evaluate(
    data: Annotated[
        Path, typer.Option(help="Manifest with clips, transcripts, splits and ratings.")
    ],
    split: Annotated[str, typer.Option(help="Rows to evaluate: train, validation or test.")],
    bundle: Annotated[str | None, typer.Option(help="Bundle to evaluate: name or folder.")] = None,
    run: Annotated[Path | None, typer.Option(help="Training run to evaluate: its folder.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Predictions to evaluate: CSV with sample_id,pred_O,pred_C,pred_E,pred_A,pred_N, "
            "where pred_N is emotional stability."
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="official: every row. unseen: rows whose source video is not in training. "
            "folds: the published source-disjoint folds one by one, averaged."
        ),
    ] = "official",
    modalities: Annotated[
        str | None,
        typer.Option(help="Modalities to use, such as text,audio; default: all."),
    ] = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="Result on stdout.")] = "text",
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Also write the scores to this CSV file.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=100, max=100_000, help="Bootstrap draws of source videos.")
    ] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
) -> None:
    """Evaluate predictions and simple baselines, with 95 % intervals over source videos.

    Give exactly one of --bundle, --run and --predictions.
    """
    from mmperson.api import evaluate as evaluate_predictions
    from mmperson.evaluation.predictions import write_predictions

    console = stderr_console()
    names = None if modalities is None else [name.strip() for name in modalities.split(",")]
    scored: list[tuple[Manifest, npt.NDArray[np.float64]]] = []
    result = evaluate_predictions(
        data,
        split,
        bundle=bundle,
        run=run,
        predictions=predictions,
        protocol=protocol,
        modalities=names,
        draws=draws,
        seed=seed,
        on_note=lambda sentence: console.print(sentence, markup=False),
        on_scores=lambda rows, scores: scored.append((rows, scores)),
    )
    subjects = {"bundle": bundle, "run": run, "predictions": predictions}
    record: dict[str, Any] = {
        "scored": {name: str(value) for name, value in subjects.items() if value is not None},
        "modalities": names and [name for name in MODALITIES if name in names],
        **result.to_dict(),
    }
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    if format == "json":
        sys.stdout.write(text)
    else:
        from mmperson.evaluation.table import print_evaluation

        print_evaluation(result, Console(highlight=False))
    if result.missing:
        console.print(f"{result.missing} rows had no prediction and are excluded.")
    if save_predictions is not None:
        ((rows, scores),) = scored
        count = write_predictions(save_predictions, rows.sample_id, scores)
        console.print(f"Wrote {count} predictions to {save_predictions}.", markup=False)
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
        console.print(f"Wrote the record to {out}.", markup=False)
