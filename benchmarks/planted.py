"""Learn a planted corpus from its clips, and show that every trait is read where it was planted.

    python benchmarks/planted.py FOOTAGE_FOLDER

Makes 300 clips of real footage, trains ``configs/planted.yaml``, and scores the clips of footage
that was held out: with everything, without each modality, and after training on shuffled labels.
A result file is never overwritten; ``benchmarks/README.md`` is rendered from the newest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from impressions import render

from mmperson.config import load_recipe
from mmperson.data import Manifest, write_manifest
from mmperson.data.planted import make_planted
from mmperson.evaluation.metrics import r2
from mmperson.export import export_run
from mmperson.schema import MODALITIES
from mmperson.training import score_run, train
from mmperson.traits import TRAITS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def measure(footage: Path, folder: Path, clips: int, threads: int) -> dict[str, Any]:
    """Make the corpus, train on it twice, and judge both networks on held-out footage."""
    start = time.monotonic()
    manifest = make_planted(folder / "corpus", clips=clips, footage=footage)
    made_s = time.monotonic() - start
    held = manifest.select(manifest.split != "train")
    start, spent = time.monotonic(), time.process_time()
    run = learn(manifest, folder, "true", threads)
    trained = {"wall_s": time.monotonic() - start, "cpu_s": time.process_time() - spent}
    found = {"everything": judge(run, held, MODALITIES)}
    for name in MODALITIES:
        kept = tuple(other for other in MODALITIES if other != name)
        found[f"without {name}"] = judge(run, held, kept)
    info = export_run(run, folder / "bundle", held)
    order = np.random.default_rng(0).permutation(len(manifest))
    shuffled = replace(manifest, targets=manifest.targets[order])
    found["shuffled labels"] = judge(learn(shuffled, folder, "shuffled", threads), held, MODALITIES)
    return {
        "footage": len(np.unique(manifest.source_id)),
        "clips": {
            split: int((manifest.split == split).sum()) for split in np.unique(manifest.split)
        },
        "made_s": made_s,
        "trained": trained,
        "threads": threads,
        "r2": found,
        "parity": info.parity,
    }


def learn(manifest: Manifest, folder: Path, name: str, threads: int) -> Path:
    """Train the recipe on a manifest and return the run folder."""
    path = folder / "corpus" / f"{name}.parquet"
    write_manifest(manifest, path)
    changes = {"data.manifest": str(path), "run.threads": str(threads)}
    changes |= {"run.cache": str(folder / "cache")}
    recipe = load_recipe(ROOT / "configs" / "planted.yaml", changes)
    train(recipe, folder / name, lambda epoch, *_: print(name, epoch, flush=True))
    return folder / name


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
    clips, trained = result["clips"], result["trained"]
    return "\n".join([
        *lines,
        "",
        f"{clips['train']} training clips and {clips['validation'] + clips['test']} held-out ones, "
        f"of {result['footage']} videos; one seed, the last epoch, held-out clips read once. "
        f"Training took {trained['wall_s'] / 60:.0f} minutes on {result['threads']} "
        f"thread{'s' if result['threads'] > 1 else ''} ({result['hardware']}). "
        f"From `results/{result['file']}`, made by `{result['command']}`.",
    ])  # fmt: skip


def main() -> None:
    """Measure, write the result file, and render the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("footage", type=Path, nargs="?", help="without it, only render")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.footage is not None:
        git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        with tempfile.TemporaryDirectory() as folder:
            found = measure(arguments.footage, Path(folder), arguments.clips, arguments.threads)
        now = datetime.now(UTC)
        result = {
            "file": f"{now:%Y-%m-%d-%H%M}-{commit}-planted.json",
            "command": f"python benchmarks/planted.py {arguments.footage.name}",
            "made": now.isoformat(timespec="seconds"),
            "commit": commit,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "onnxruntime", "timm", "av")},
            },
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores, busy with other work",
            **found,
        }
        with (RESULTS / result["file"]).open("x", encoding="utf-8") as file:
            json.dump(result, file, indent=1, allow_nan=False)
            file.write("\n")
    newest = max(RESULTS.glob("*-planted.json"), default=None)
    if newest is not None:
        path = ROOT / "benchmarks" / "README.md"
        result = json.loads(newest.read_text(encoding="utf-8"))
        page = render(path.read_text(encoding="utf-8"), "planted", table(result))
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
