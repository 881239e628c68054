"""`mmperson evaluate`: judge a bundle, a run or a prediction file against observers' ratings."""

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
    split: Annotated[str, typer.Option(help="Rows to judge: train, validation or test.")],
    bundle: Annotated[str | None, typer.Option(help="Bundle to judge: its name or folder.")] = None,
    run: Annotated[Path | None, typer.Option(help="Training run to judge: its folder.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Predictions to judge: CSV with sample_id,pred_O,pred_C,pred_E,pred_A,pred_N, "
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
        typer.Option(
            help="Modalities to score with, such as text,audio; without it, all that are read."
        ),
    ] = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="Result on stdout.")] = "text",
    out: Annotated[Path | None, typer.Option(help="File for the JSON record, besides.")] = None,
    save_predictions: Annotated[
        Path | None, typer.Option(help="CSV file for the scores that were judged.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=100, max=100_000, help="Bootstrap draws of source videos.")
    ] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
) -> None:
    """Judge predictions beside simple baselines, with 95 % intervals over source videos.

    Give exactly one of --bundle, --run and --predictions.
    """
    from mmperson.api import evaluate as judge
    from mmperson.evaluation.predictions import write_predictions

    console = stderr_console()
    wanted = None if modalities is None else [name.strip() for name in modalities.split(",")]
    judged: list[tuple[Manifest, npt.NDArray[np.float64]]] = []
    result = judge(
        data,
        split,
        bundle=bundle,
        run=run,
        predictions=predictions,
        protocol=protocol,
        modalities=wanted,
        draws=draws,
        seed=seed,
        on_note=lambda sentence: console.print(sentence, markup=False),
        on_scores=lambda rows, scores: judged.append((rows, scores)),
    )
    given = {"bundle": bundle, "run": run, "predictions": predictions}
    record: dict[str, Any] = {
        "scored": {name: str(value) for name, value in given.items() if value is not None},
        "modalities": wanted and [name for name in MODALITIES if name in wanted],
        **result.to_dict(),
    }
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    if format == "json":
        sys.stdout.write(text)
    else:
        from mmperson.evaluation.table import print_evaluation

        print_evaluation(result, Console(highlight=False))
    if result.missing:
        console.print(f"{result.missing} rows had no prediction; nothing above counts them.")
    if save_predictions is not None:
        ((rows, scores),) = judged
        kept = write_predictions(save_predictions, rows.sample_id, scores)
        console.print(f"Wrote {kept} predictions to {save_predictions}.", markup=False)
    if out is not None:
        with atomic_write(out) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        console.print(f"Wrote the record to {out}.", markup=False)
