"""Learn the clips of First Impressions V2 that are at hand by heart, export, and score their files.

    python benchmarks/seven_clips.py runs/impressions.parquet

This measures no quality: it shows that the path from mp4 files through networks of all three
modalities to a bundle and back to the same files is whole: ``three_modalities``, trained end to
end, and ``pretrained``, on frozen encoders (fetch their weights first, see its recipe). A result
file is never overwritten.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from result_file import ROOT, describe_environment, write_result

from mmperson.config import load_recipe
from mmperson.datasets import read_manifest, write_manifest
from mmperson.exporting import export_run
from mmperson.inference.predictor import load
from mmperson.training import score_run, train

RECIPES = ("three_modalities", "pretrained")
EPOCHS = 60
THREADS = 2
CHANGES = {
    "augment": "null",
    "fusion.modality_dropout": "0.0",
    "optim.ema_decay": "null",
    "optim.epochs": str(EPOCHS),
    "run.threads": str(THREADS),
}


def measure(name: str, path: Path, folder: Path) -> dict[str, Any]:
    """Train a recipe on every clip that has a file, export, and score the files."""
    manifest = read_manifest(path)
    rows = manifest.select(np.array([clip is not None for clip in manifest.clip]))
    rows = replace(rows, split=np.full(len(rows), "train"))
    write_manifest(rows, folder / "clips.parquet")
    changes = {**CHANGES, "data.manifest": str(folder / "clips.parquet")}
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


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    path = parser.parse_args().manifest
    facts = describe_environment(("torch", "onnxruntime", "timm", "av"), THREADS)
    found = {}
    for name in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, path, Path(folder))
        shown = ("mean_absolute_error", "mean_absolute_error_of_their_mean", "parity", "trained_s")
        print(name, {key: found[name][key] for key in shown})
    write_result("seven-clips", facts, {"epochs": EPOCHS, "recipes": found})


if __name__ == "__main__":
    main()
