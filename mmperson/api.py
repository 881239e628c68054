"""Training, evaluation and export as functions.

Functions import torch only if they need it, so that a bundle can be evaluated without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmperson.config import Recipe, load_recipe
from mmperson.datasets.manifest import SPLITS, Manifest, read_manifest
from mmperson.errors import DataError, MissingExtra, UnknownComponent, UsageError
from mmperson.evaluation.evaluate import Evaluation, evaluate_split
from mmperson.evaluation.predictions import Predictions, read_predictions
from mmperson.evaluation.protocols import PROTOCOLS
from mmperson.evaluation.scoring import score_bundle
from mmperson.inference.predictor import Predictor
from mmperson.schema import MODALITIES
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.exporting.quantize import Precision
    from mmperson.inference.bundle import BundleInfo
    from mmperson.training import RunResult

FilePath = str | Path
DRAWS = (100, 100_000)
"""Bootstrap draws: fewer give no interval, more take long."""
Scores = npt.NDArray[np.float64]


def train(
    recipe: Recipe | FilePath,
    out: FilePath,
    *,
    overrides: Mapping[str, object] | None = None,
    on_epoch: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Train a recipe into a run folder; an interrupted run of the same recipe resumes.

    Args:
        recipe: A recipe, or the path of its YAML file.
        out: Run folder for the recipe, log, state and network.
        overrides: Settings to change in a recipe file, such as ``{"optim.lr": 1e-4}``.
        on_epoch: Called after every epoch with its number from 1, the number of epochs, and its
            metrics by name.
        on_note: Called with messages for the user.

    Returns:
        The run folder, the number of rows, and the best selection metric.

    Raises:
        ConfigError: The recipe cannot be read or is invalid.
        DataError: The manifest cannot be used.
        MissingExtra: The train extra is not installed.
        TrainingError: Training diverged, ran out of memory, or the folder holds another run.
        UsageError: The folder or the cache cannot be written, or an argument is not a path.
    """
    with _extra("train"):
        from mmperson.training import train as train_recipe

    if isinstance(recipe, Recipe):
        if overrides:
            raise UsageError("Overrides need a recipe file, not a loaded recipe.")
        resolved = recipe
    else:
        flags = {key: _as_flag(value) for key, value in (overrides or {}).items()}
        resolved = load_recipe(_path(recipe, "recipe"), flags)
    return train_recipe(resolved, _path(out, "out"), on_epoch, on_note)


def evaluate(
    data: Manifest | FilePath,
    split: str,
    *,
    bundle: Predictor | FilePath | None = None,
    run: FilePath | None = None,
    predictions: Predictions | FilePath | None = None,
    protocol: str = "official",
    modalities: Sequence[str] | None = None,
    draws: int = 2_000,
    seed: int = 0,
    on_note: Callable[[str], object] = lambda _: None,
    on_scores: Callable[[Manifest, Scores], object] = lambda *_: None,
) -> Evaluation:
    """Evaluate a bundle, a run or predictions, with baselines and 95 % intervals.

    Give exactly one of ``bundle``, ``run`` and ``predictions``.

    Args:
        data: A manifest, or the path of its file.
        split: Rows to evaluate: ``train``, ``validation`` or ``test``.
        bundle: An open predictor, or the name or folder of a bundle.
        run: Folder of a training run; it needs the train extra.
        predictions: Predictions, or the path of their CSV file.
        protocol: ``official``, ``unseen`` or ``folds``.
        modalities: Modalities to use, at least one; None for all.
        draws: Bootstrap draws of source videos, 100 to 100,000.
        seed: Seed of the draws, 0 or more.
        on_note: Called with messages for the user.
        on_scores: Called before the evaluation with the rows of the split and their scores, float64
            (row, trait), NaN where missing.

    Returns:
        Metrics, intervals, baselines and the paired comparison with the best of them.

    Raises:
        UsageError: Not exactly one of the three is given, modalities with predictions, or a value
            is out of range.
        UnknownComponent: There is no such split, protocol or modality.
        DataError: The manifest or the predictions cannot be used, or no row is rated and scored.
        BundleError: The bundle cannot be used.
        MissingExtra: A run needs the train extra.
    """
    count = sum(subject is not None for subject in (bundle, run, predictions))
    if count != 1:
        raise UsageError(
            f"{count} of bundle, run and predictions were given.", hint="Give exactly one."
        )
    if modalities is not None and predictions is not None:
        raise UsageError("Modalities need a bundle or a run, not predictions.")
    selected = None if modalities is None else _in_order(modalities)
    _check_whole("draws", draws, *DRAWS)
    _check_whole("seed", seed, 0, 2**63 - 1)
    # Before the scoring, which may take minutes.
    for kind, name, choices in (("split", split, SPLITS), ("protocol", protocol, PROTOCOLS)):
        if name not in choices:
            raise UnknownComponent(kind, name, choices)
    manifest = _manifest(data)
    rows = manifest.where_split(split)
    if bundle is not None:
        scores = score_bundle(bundle, rows, selected)
    elif run is not None:
        scores = _score_run(run, rows, selected)
    else:
        assert predictions is not None
        file = _predictions(predictions)
        if unknown := file.unknown(manifest.sample_id):
            on_note(
                f"{len(unknown)} of {len(file.sample_id)} predictions are for samples that the "
                f"manifest lacks, such as {unknown[0]!r}; they are ignored."
            )
        scores = file.align(rows.sample_id)
    on_scores(rows, scores)
    return evaluate_split(scores, manifest, split, protocol=protocol, draws=draws, seed=seed)


def export(
    run: FilePath,
    out: FilePath,
    data: Manifest | FilePath,
    *,
    split: str = "validation",
    precision: Precision = "int8",
    on_note: Callable[[str], object] = lambda _: None,
) -> BundleInfo:
    """Export a run to a bundle, compare its graphs with the network, and measure its quality.

    Args:
        run: Folder of a training run.
        out: Bundle folder to write; an existing bundle is replaced, anything else is an error.
        data: A manifest, or the path of its file.
        split: Rows to compare the graphs and measure the quality on.
        precision: Precision of the graphs, see ``mmperson.exporting.quantize.Precision``.
        on_note: Called with messages for the user.

    Returns:
        The description of the bundle, with its metrics.

    Raises:
        UnknownComponent: There is no such precision.
        DataError: The manifest cannot be used, or has no rows in the split.
        ParityExceeded: The outputs of graphs and network differ.
        ExportError: The network cannot be exported, the conversion costs more than
            ``mmperson.exporting.quality.MAX_ACCURACY_LOSS``, or the folder holds something else.
        MissingExtra: The train or export extra is not installed.
    """
    with _extra("train,export"):
        from mmperson.exporting import export_run
        from mmperson.exporting.quality import measure_quality
        from mmperson.exporting.quantize import PRECISIONS

    if precision not in PRECISIONS:
        raise UnknownComponent("precision", str(precision), PRECISIONS)
    run, out = _path(run, "run"), _path(out, "out")

    manifest = _manifest(data)
    rows = manifest.where_split(split)
    if not len(rows):
        raise DataError(
            f"The manifest has no rows in the split {split!r}.",
            hint="Use another split: its rows are needed to compare graphs and network.",
        )
    train_rows = manifest.where_split("train")
    return export_run(
        run,
        out,
        rows,
        precision=precision,
        calibration=train_rows if len(train_rows) else None,
        measure=partial(
            measure_quality,
            manifest=manifest,
            split=split,
            score_network=partial(_score_run, run),
            on_note=on_note,
        ),
    )


def _score_run(run: FilePath, rows: Manifest, modalities: tuple[str, ...] | None = None) -> Scores:
    """Return a run's scores of the traits, float64 (row, trait)."""
    with _extra("train"):
        from mmperson.training import score_run

    return score_run(_path(run, "run"), rows, modalities)[:, : len(TRAITS)]


def _in_order(modalities: Sequence[str]) -> tuple[str, ...]:
    if isinstance(modalities, str) or not modalities:
        raise UsageError(
            f"Modalities are one or more names in a list, not {modalities!r}.",
            hint=f"Choose from {', '.join(MODALITIES)}, or leave modalities out for all.",
        )
    for name in modalities:
        if name not in MODALITIES:
            raise UnknownComponent("modality", name, MODALITIES)
    return tuple(name for name in MODALITIES if name in modalities)


def _manifest(data: Manifest | FilePath) -> Manifest:
    return data if isinstance(data, Manifest) else read_manifest(_path(data, "data"))


def _predictions(given: Predictions | FilePath) -> Predictions:
    if isinstance(given, Predictions):
        return given
    return read_predictions(_path(given, "predictions"))


def _path(value: object, name: str) -> Path:
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise UsageError(f"{name} is a path, not {value!r} ({type(value).__name__}).")


def _as_flag(value: object) -> str:
    """Write a setting as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _check_whole(name: str, value: object, lowest: int, highest: int) -> None:
    if not isinstance(value, int) or not lowest <= value <= highest:
        raise UsageError(f"{name} is {value!r}; integers from {lowest} to {highest} are allowed.")


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Raise ``MissingExtra`` if a package cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", name) from error
