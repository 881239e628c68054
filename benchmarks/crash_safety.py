"""Kill work at random moments, and show that it ends in the same bits all the same.

    python benchmarks/crash_safety.py --kills 200

A small real training, with a teacher, a frozen text encoder, selection, a moving average and the
plateau schedule, is done once without interruption. Then it is done over and over in a process that
gets SIGKILL after a random time and is started again, until it ends; what it leaves must be the
same to the bit. A result file is never overwritten.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from result_file import circumstances, write_result

from mmperson.config import Recipe, parse_recipe
from mmperson.data import Manifest, write_manifest
from mmperson.models.checkpoint import NETWORK_FILE, RECIPE_FILE, read_tensors
from mmperson.training import train
from mmperson.training.state import STATE_FILE
from mmperson.training.tracker import LOG_FILE

WORDS = ("calm", "quick", "bright", "house", "garden", "plan", "laugh", "river", "stone", "maybe")
ROWS = 60

# A server that has torch imported starts the processes: else most kills would meet an import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mmperson.training"])


@dataclass(frozen=True)
class Subject:
    """Work that goes on where it was killed.

    Attributes:
        work: Does it into a folder, from where it stands; must pickle.
        result: What it leaves in the folder, by name; must not depend on kills.
        stage: How far it has come in the folder, in a word.
    """

    work: Callable[[Path], object]
    result: Callable[[Path], dict[str, bytes]]
    stage: Callable[[Path], str]


def kill_often(subject: Subject, folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Do the work again and again, killed at random moments, and compare what it leaves.

    Args:
        subject: The work.
        folder: Where it is done; should be empty.
        kills: Kills in all; work that has ended is begun anew until they are spent.
        seed: Seed of the moments.

    Returns:
        How often the work was done, at what stages it was killed, and what differed in the end.

    Raises:
        RuntimeError: The work failed after a kill.
    """
    random = np.random.default_rng(seed)
    warm = PROCESSES.Process(target=int)
    warm.start()
    warm.join()
    begun = time.monotonic()
    attempt(subject, folder / "whole", None)
    length = time.monotonic() - begun
    wanted = subject.result(folder / "whole")
    stages: Counter[str] = Counter()
    done, differences = 0, []
    while stages.total() < kills:
        run = folder / f"killed-{done}"
        while not attempt(
            subject, run, random.uniform(0, length) if stages.total() < kills else None
        ):
            stages[subject.stage(run)] += 1
        found = subject.result(run)
        names = sorted(wanted.keys() | found.keys())
        differences += [
            f"{run.name}: {name}" for name in names if wanted.get(name) != found.get(name)
        ]
        done += 1
    return {
        "kills": stages.total(),
        "runs": done,
        "killed_at": dict(stages),
        "differences": differences,
        "uninterrupted_s": length,
    }


def attempt(subject: Subject, folder: Path, seconds: float | None) -> bool:
    """Work in a process of its own and kill it after a while; None lets it end.

    Returns:
        Whether it ended by itself.
    """
    process = PROCESSES.Process(target=subject.work, args=(folder,))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"The work in {folder} ended with exit code {process.exitcode}.")
    return process.exitcode == 0


def training(recipe: Recipe) -> Subject:
    """Return the training of a recipe: its network, its log, and that no other files are left."""
    return Subject(partial(train, recipe), _left_by_training, _stage_of_training)


def _left_by_training(run: Path) -> dict[str, bytes]:
    files = "\n".join(sorted(path.name for path in run.iterdir()))
    return {name: (run / name).read_bytes() for name in (NETWORK_FILE, LOG_FILE)} | {
        "files": files.encode()
    }


def _stage_of_training(run: Path) -> str:
    if not (run / RECIPE_FILE).is_file():
        return "starting"
    if not (run / STATE_FILE).is_file():
        return "before the first checkpoint"
    progress = json.loads(read_tensors(run / STATE_FILE)[1]["progress"])
    return "after the last checkpoint" if progress["done"] else "between checkpoints"


def make_training(folder: Path) -> Recipe:
    """Make a corpus of random words and sounds, and a recipe that uses most of a training."""
    random = np.random.default_rng(0)
    sounds = random.normal(size=(ROWS, 26)).astype(np.float32)
    manifest = Manifest(
        sample_id=np.array([f"clip{row:03d}" for row in range(ROWS)]),
        source_id=np.array([f"source{row // 3:02d}" for row in range(ROWS)]),
        split=np.full(ROWS, "train"),
        fold=np.full(ROWS, -1),
        clip=(None,) * ROWS,
        transcript=tuple(" ".join(random.choice(WORDS, size=1 + row % 9)) for row in range(ROWS)),
        targets=(0.5 + 0.1 * np.tanh(sounds[:, :5])).astype(np.float64),
        descriptors=sounds,
        extras={},
    )
    path = folder / "manifest.parquet"
    write_manifest(manifest, path)
    content = {
        "name": "crash-safety",
        "data": {"manifest": str(path), "held_out": 0},
        "text": {"layers": [0, 2], "trainable_layers": 0, "dim": 16},
        "audio": {"tokens": 2, "dim": 16},
        "fusion": {"dim": 16, "heads": 2},
        "heads": {"members": 4},
        "teacher": {"steps": 4, "sources": 8},
        "loss": {"name": "mse", "soft_weight": 0.5},
        "optim": {"epochs": 8, "batch_size": 8, "ema_decay": 0.9, "schedule": "plateau"},
        "run": {"checkpoint_steps": 4, "threads": 1},
    }
    return parse_recipe(content, source="crash_safety.py")


def main() -> None:
    """Measure and write the result file; exit code 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print, and write no result file")
    arguments = parser.parse_args()
    facts = circumstances(("torch", "safetensors"), threads=1)
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subjects = {"train": training(make_training(folder))}
        for name, subject in subjects.items():
            found[name] = kill_often(subject, folder / name, arguments.kills, arguments.seed)
            print(name, json.dumps(found[name], indent=1))
    if not arguments.dry:
        write_result("crash-safety", facts, {"seed": arguments.seed, "subjects": found})
    if any(result["differences"] for result in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
