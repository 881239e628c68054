"""Learn the clips of First Impressions V2 that are at hand by heart, export, and score their files.

    python -m benchmarks run seven-clips -- runs/impressions.parquet

This measures no quality: it shows that the path from mp4 files through networks of all three
modalities to a bundle and back to the same files is whole: ``three_modalities``, trained end to
end, and ``pretrained``, on frozen encoders (fetch their weights first, see its recipe).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import DEMO, ROOT
from benchmarks.quality.corpus import write_corpus
from mmperson.config import load_recipe
from mmperson.datasets import read_manifest, write_manifest
from mmperson.exporting import export_run
from mmperson.inference.predictor import load
from mmperson.training import score_run, train

PACKAGES = ("torch", "onnxruntime", "timm", "av")
RECIPES = ("three_modalities", "pretrained")
EPOCHS = 60
THREADS = 2
CHANGES = {
    "augment": "null",
    "fusion.modality_dropout": "0.0",
    "optim.ema_decay": "null",
    "run.threads": str(THREADS),
}


def learn_by_heart(name: str, path: Path, epochs: int, folder: Path) -> dict[str, Any]:
    """Train a recipe on every clip that has a file, export, and score the files."""
    manifest = read_manifest(path)
    rows = manifest.select(np.array([clip is not None for clip in manifest.clip]))
    rows = replace(rows, split=np.full(len(rows), "train"))
    write_manifest(rows, folder / "clips.parquet")
    changes = {**CHANGES, "data.manifest": str(folder / "clips.parquet")}
    changes |= {"optim.epochs": str(epochs)}
    recipe = load_recipe(ROOT / "configs" / f"{name}.yaml", changes)
    start = time.monotonic()
    train(recipe, folder / "run")
    trained_s = time.monotonic() - start
    info = export_run(folder / "run", folder / "bundle", rows)
    predictor = load(folder / "bundle")
    records = [
        predictor.predict(str(clip), transcript=text)
        for clip, text in zip(rows.clip, rows.transcript, strict=True)
    ]
    scores = np.array([list(record.scores.model_dump().values()) for record in records])
    network = score_run(folder / "run", rows)
    constant = np.abs(rows.targets - rows.targets.mean(axis=0)).mean()
    return {
        "clips": rows.sample_id.tolist(),
        "trained_s": round(trained_s, 1),
        "mean_absolute_error": float(np.abs(scores - rows.targets).mean()),
        "mean_absolute_error_of_their_mean": float(constant),
        "largest_difference_bundle_network": float(np.abs(scores - network).max()),
        "parity": info.parity,
        "used": [record.modalities.model_dump() for record in records],
        "warnings": [record.warnings for record in records],
        "predict_ms": [record.timing_ms["total"] for record in records],
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.set_defaults(threads=THREADS)


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, export and score by every recipe."""
    found = {}
    for name in given.recipes.split(","):
        (folder / name).mkdir()
        found[name] = learn_by_heart(name, given.manifest, given.epochs, folder / name)
        shown = ("mean_absolute_error", "mean_absolute_error_of_their_mean", "parity", "trained_s")
        print(name, {key: found[name][key] for key in shown})
    return {"seven-clips": {"epochs": given.epochs, "recipes": found}}


def smoke(folder: Path) -> list[str]:
    path = write_corpus(folder, train=2, clip=DEMO)
    return [str(path), "--recipes", "three_modalities", "--epochs", "1"]
