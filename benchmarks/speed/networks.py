"""Networks with random weights: as fast as trained ones, but their scores mean nothing."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import DEMO, ROOT
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.exporting.quantize import Precision

RECIPE = ROOT / "configs" / "three_modalities.yaml"


def write_corpus(clip: Path, clips: int, folder: Path) -> Path:
    """Copy the clip and its transcript, and write a manifest with scores drawn at random."""
    from mmperson.datasets import write_manifest  # Here, as some of these load torch.
    from mmperson.datasets.sources import import_folder

    folder.mkdir(parents=True, exist_ok=True)
    scores = np.random.default_rng(0).uniform(size=(clips, len(TRAITS)))
    for index in range(clips):
        for file in (clip, clip.with_suffix(".txt")):
            shutil.copyfile(file, folder / f"{index}{file.suffix}")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", *TRAITS))
        table.writerows((f"{index}{clip.suffix}", *row) for index, row in enumerate(scores))
    path = folder / "manifest.parquet"
    write_manifest(import_folder(folder), path)
    return path


def random_bundles(
    folder: Path,
    precisions: Sequence[Precision],
    more: Mapping[str, str] = MappingProxyType({}),
    clips: int = 4,
) -> dict[Precision, Path]:
    """Train ``three_modalities`` for a single step, and export it in every precision.

    Args:
        folder: Where to work, and where the bundles are put.
        precisions: What graphs are converted to.
        more: Changes of the recipe.
        clips: Training clips; one calibrates and gates the export.

    Returns:
        The bundles.
    """
    from mmperson.config import load_recipe
    from mmperson.datasets import read_manifest
    from mmperson.exporting import export_run
    from mmperson.training import train

    manifest = write_corpus(DEMO, clips, folder / "corpus")
    changes = {"data.manifest": str(manifest), "optim.epochs": "1", "augment": "null"}
    changes |= {"optim.ema_decay": "null", "run.threads": "1", **more}
    run = train(load_recipe(RECIPE, changes), folder / "run").run
    rows = read_manifest(manifest).select(np.arange(1))
    for precision in precisions:
        export_run(run, folder / precision, rows, precision=precision)
    return {precision: folder / precision for precision in precisions}


def random_bundle(
    folder: Path,
    more: Mapping[str, str] = MappingProxyType({}),
    precision: Precision = "int8",
) -> Path:
    """Return one bundle of ``random_bundles``."""
    return random_bundles(folder, (precision,), more)[precision]
