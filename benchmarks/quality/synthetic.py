"""Learn a planted corpus from its clips, and show that every trait is read where it was planted.

    python benchmarks/planted.py FOOTAGE_FOLDER

Makes 300 clips of real footage, trains ``configs/planted.yaml``, and scores the clips of footage
that was held out: with everything, without each modality, and after training on shuffled labels.
Two systems that read clips alone, and so have no row on First Impressions, learn the same corpus.
A result file is never overwritten; ``benchmarks/README.md`` is rendered from the newest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from impressions import render
from result_file import ROOT, describe_environment, newest_result, write_result

from mmperson.config import load_recipe
from mmperson.datasets import Manifest, read_manifest, write_manifest
from mmperson.datasets.synthetic import make_synthetic
from mmperson.evaluation.metrics import r2
from mmperson.exporting import export_run
from mmperson.models.checkpoint import NETWORK_FILE, RECIPE_FILE
from mmperson.schema import MODALITIES
from mmperson.training import score_run, train
from mmperson.traits import TRAITS

SEED = 2
"""Of the corpus. The recipe's settings were chosen on the corpus of seed 0, which has other signals
and holds out other footage."""

SYSTEMS = {
    "prosody": {"optim.epochs": "200"},
    "deep_impression": {
        "optim.epochs": "40",
        "optim.batch_size": "8",
        "optim.lr": "1e-3",
        "video.size": "64",
        "audio.window_s": "2.0",
        "augment.seconds": "null",
    },
}
"""Further recipes that learn the corpus, and what is changed in them."""


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the corpus, train on it, and judge every network on held-out footage."""
    made = folder / "corpus" / "manifest.parquet"
    if made.is_file():
        manifest = read_manifest(made)
    else:
        manifest = make_synthetic(
            folder / "corpus", clips=arguments.clips, footage=arguments.footage, seed=SEED
        )
    held = manifest.select(manifest.split != "train")
    changes = {"run.threads": str(arguments.threads), "run.cache": str(folder / "cache")}
    run = learn("planted", manifest, folder / "true", changes)
    trained_s = (run / NETWORK_FILE).stat().st_mtime - (run / RECIPE_FILE).stat().st_mtime
    found = {"everything": judge(run, held, MODALITIES)}
    for name in MODALITIES:
        kept = tuple(other for other in MODALITIES if other != name)
        found[f"without {name}"] = judge(run, held, kept)
    info = export_run(run, folder / "bundle", held)
    order = np.random.default_rng(0).permutation(len(manifest))
    shuffled = replace(manifest, targets=manifest.targets[order])
    found["shuffled labels"] = judge(
        learn("planted", shuffled, folder / "shuffled", changes), held, MODALITIES
    )
    for name, change in SYSTEMS.items():
        run = learn(name, manifest, folder / name, {**changes, **change})
        found[f"the recipe {name}"] = judge(run, held, MODALITIES)
    return {
        "seed": SEED,
        "footage": len(np.unique(manifest.source_id)),
        "clips": {
            split: int((manifest.split == split).sum()) for split in np.unique(manifest.split)
        },
        "trained_s": round(trained_s, 1),
        "epochs": epochs(folder / "true"),
        "systems": SYSTEMS,
        "r2": found,
        "parity": info.parity,
    }


def learn(recipe: str, manifest: Manifest, run: Path, changes: dict[str, str]) -> Path:
    """Train a recipe on a manifest and return the run folder; one that was trained is kept."""
    if (run / NETWORK_FILE).is_file():
        return run
    path = run.with_suffix(".parquet")
    write_manifest(manifest, path)
    changed = load_recipe(
        ROOT / "configs" / f"{recipe}.yaml", {**changes, "data.manifest": str(path)}
    )
    train(changed, run, lambda epoch, *_: print(run.name, epoch, flush=True))
    return run


def epochs(run: Path) -> int:
    """Return how many epochs a run has done."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return max(json.loads(line).get("epoch", 0) for line in lines)


def judge(run: Path, rows: Manifest, modalities: tuple[str, ...]) -> dict[str, float]:
    """Return R2 by trait; what cannot be scored counts as the mean, R2 0."""
    scores = score_run(run, rows, modalities)
    return {
        trait: float(r2(scores[:, index], rows.targets[:, index]))
        for index, trait in enumerate(TRAITS)
    }


def table(result: dict[str, Any]) -> str:
    """Render a result as a Markdown table."""
    head = " | ".join(trait.replace("_", " ") for trait in TRAITS)
    lines = [f"| R² on held-out footage | {head} |", "|---|" + "---|" * len(TRAITS)]
    planted = ("words", "sound: level", "picture: motion", "picture: light", "sound: pitch")
    lines.append(f"| *planted in* | {' | '.join(planted)} |")
    for name, values in result["r2"].items():
        lines.append(f"| {name} | {' | '.join(f'{values[trait]:.3f}' for trait in TRAITS)} |")
    clips = result["clips"]
    return "\n".join([
        *lines,
        "",
        f"{clips['train']} training clips and {clips['validation'] + clips['test']} held-out ones, "
        f"of {result['footage']} videos; one seed, the last epoch, held-out clips read once; "
        "settings were chosen on a corpus with other signals and other footage held out. "
        f"{result['epochs']} epochs in {result['trained_s'] / 60:.0f} minutes, clips decoded "
        f"meanwhile ({result['hardware']}, threads used: {result['threads']}). "
        f"From `results/{result['file']}`, made by `{result['command']}`.",
    ])  # fmt: skip


def main() -> None:
    """Measure, write the result file, and render the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("footage", type=Path, nargs="?", help="without it, only render")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--keep", type=Path, help="folder for corpus and runs; default: none")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.footage is not None:
        facts = describe_environment(("torch", "onnxruntime", "timm", "av"), arguments.threads)
        with tempfile.TemporaryDirectory() as folder:
            found = measure(arguments, arguments.keep or Path(folder))
        write_result("planted", facts, found)
    result = newest_result("planted")
    if result is not None:
        path = ROOT / "benchmarks" / "README.md"
        page = render(path.read_text(encoding="utf-8"), "planted", table(result))
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
