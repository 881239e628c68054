"""`mmperson evaluate`: judge a bundle, a run or a prediction file against observers' ratings."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mmperson.errors import MissingExtra, UnknownComponent, UsageError
from mmperson.schema import MODALITIES
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mmperson.datasets.manifest import Manifest


class Format(StrEnum):
    """What is printed on stdout."""

    text = "text"
    json = "json"


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
    format: Annotated[Format, typer.Option(help="Result on stdout.")] = Format.text,
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
    given = {"bundle": bundle, "run": run, "predictions": predictions}
    scored = {name: str(value) for name, value in given.items() if value is not None}
    if len(scored) != 1:
        raise UsageError(
            f"{len(scored)} of --bundle, --run and --predictions were given.",
            hint="Give exactly one.",
        )
    wanted = _modalities(modalities)
    if wanted is not None and predictions is not None:
        raise UsageError("--modalities chooses what a bundle or a run reads; a file has no choice.")

    from mmperson.datasets.manifest import SPLITS, read_manifest
    from mmperson.evaluation.evaluate import evaluate_split
    from mmperson.evaluation.predictions import write_predictions
    from mmperson.evaluation.protocols import PROTOCOLS

    # Checked before the scoring, which may take minutes.
    for kind, name, choices in (("split", split, SPLITS), ("protocol", protocol, PROTOCOLS)):
        if name not in choices:
            raise UnknownComponent(kind, name, choices)
    talk = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    manifest = read_manifest(data)
    rows = manifest.where_split(split)
    if bundle is not None:
        from mmperson.evaluation.scoring import score_bundle

        scores = score_bundle(bundle, rows, wanted)
    elif run is not None:
        scores = _score_run(run, rows, wanted)
    else:
        scores = _read_scores(Path(scored["predictions"]), manifest, rows, talk)

    result = evaluate_split(scores, manifest, split, protocol=protocol, draws=draws, seed=seed)
    record: dict[str, Any] = {"scored": scored, "modalities": wanted, **result.to_dict()}
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    if format is Format.json:
        sys.stdout.write(text)
    else:
        from mmperson.evaluation.table import print_evaluation

        print_evaluation(result, Console(highlight=False))
    if result.missing:
        talk.print(f"{result.missing} rows had no prediction; nothing above counts them.")
    if save_predictions is not None:
        kept = write_predictions(save_predictions, rows.sample_id, scores)
        talk.print(f"Wrote {kept} predictions to {save_predictions}.")
    if out is not None:
        _write(out, text)
        talk.print(f"Wrote the record to {out}.")


def _modalities(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in MODALITIES:
            raise UnknownComponent("modality", name, MODALITIES)
    return tuple(name for name in MODALITIES if name in names)


def _score_run(
    run: Path, rows: Manifest, modalities: tuple[str, ...] | None
) -> npt.NDArray[np.float64]:
    try:
        from mmperson.training import score_run
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train") from error
    return score_run(run, rows, modalities)[:, : len(TRAITS)]


def _read_scores(
    path: Path, manifest: Manifest, rows: Manifest, talk: Console
) -> npt.NDArray[np.float64]:
    from mmperson.evaluation.predictions import read_predictions

    file = read_predictions(path)
    unknown = file.unknown(manifest.sample_id)
    if unknown:
        talk.print(
            f"{len(unknown)} of {len(file.sample_id)} predictions are for samples that the "
            f"manifest lacks, {unknown[0]!r} among them; they are left out."
        )
    return file.align(rows.sample_id)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
