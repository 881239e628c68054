"""Kill work at random moments, and show that it ends in the same bits all the same.

    python benchmarks/crash_safety.py --kills 200

Small works of ``mmperson train``, ``data cache`` and ``predict`` are done once without
interruption. Then each is done over and over: killed (SIGKILL) at random moments and started again; with too
small a limit on files and, where it can be mounted, on a full disk, then with room; training also
with too little memory. After every interruption all files are read; what was done must stand, and
in the end there must be the same bits. Workers of ``predict`` are killed, too: each costs its clip.

The commands start from a process that has torch imported, so that kills meet work and not imports.
Workers are looked for in /proc, and memory is limited, on Linux alone. A result file is never
overwritten.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
from interruptions import (
    Findings,
    Subject,
    command,
    fill_often,
    kill_often,
    limit_often,
    uninterrupted,
    workers_of,
)
from result_file import circumstances, write_result

from mmperson.config import Recipe, parse_recipe
from mmperson.data import Manifest, write_manifest
from mmperson.data.planted import make_planted
from mmperson.models.checkpoint import NETWORK_FILE, read_tensors
from mmperson.runtime.bundle import DEFAULT_BUNDLE
from mmperson.training.state import STATE_FILE
from mmperson.training.tracker import LOG_FILE

WORDS = ("calm", "quick", "bright", "house", "garden", "plan", "laugh", "river", "stone", "maybe")
ROWS = 60
CLIPS = 40
SCORES = "scores.jsonl"


def training(recipe: Recipe, folder: Path) -> Subject:
    """Return the training of a recipe: its network, its log, and that no other files are left."""
    path = folder / "recipe.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    return Subject(
        lambda run: ["train", str(path), "--out", str(run)],
        _left_by_training,
        _standing_of_training,
        _steps_lost,
        lambda run: "after the first step" if _logged(run) else "before the first step",
    )


def caching(recipe: Recipe, folder: Path) -> Subject:
    """Return the decoding of a recipe's clips."""
    path = folder / "cached.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    return Subject(
        lambda run: ["data", "cache", str(path), "--cache", str(run)],
        _kept,
        _kept,
        lambda run: len(list(run.rglob(".*.npy.*"))),
        lambda run: "after the first clip" if _kept(run) else "before the first clip",
    )


def predicting(clips: Path, bundle: str) -> Subject:
    """Return the scoring of a folder of clips by two workers."""

    def arguments(run: Path) -> list[str]:
        options = ["--out", str(run / SCORES), "--workers", "2", "--bundle", bundle]
        return ["predict", str(clips), *options]

    return Subject(
        arguments,
        lambda run: dict(sorted(_records(run).items())),
        _records,
        lambda run: len(_lines(run)[-1:]) if _lines(run)[-1] else 0,
        lambda run: "after the first clip" if _records(run) else "before the first clip",
    )


def kill_workers(subject: Subject, folder: Path, kills: int, seed: int) -> Findings:
    """Kill workers of ``predict`` while they score; each must cost its clip alone."""
    random = np.random.default_rng(seed)
    length, wanted = uninterrupted(subject, folder / "whole")
    findings = Findings()
    killed = 0
    while killed < kills:
        run = folder / f"thinned-{findings.runs}"
        here = 0
        with command(subject, run) as running:
            while running.process.exitcode is None and killed + here < kills:
                time.sleep(random.uniform(0, length / 8))
                able = [p for p in workers_of(run) if _scores(p)]
                if able:
                    os.kill(int(random.choice(able)), signal.SIGKILL)
                    here += 1
            running.process.join()
        killed += here
        findings.endings[running.ending.split()[0]] += 1
        lines = [json.loads(line) for line in _lines(run)[:-1]]
        failed = [record["clip"] for record in lines if record["error"]]
        if (
            running.process.exitcode not in (0, 1)
            or len(failed) > here
            or len(lines) != len(wanted)
        ):
            findings.differences.append(f"{run.name}: {here} kills, {len(failed)} failed clips")
        findings.lost.append(len(failed))
        findings.stages["workers killed"] += here
        with command(subject, run) as running:
            running.finish()
        findings.compare(subject, run, wanted)
    return findings


def _scores(process: int) -> bool:
    """Whether a worker has opened the bundle: it may write no file any more."""
    try:
        return resource.prlimit(process, resource.RLIMIT_FSIZE) == (0, 0)
    except ProcessLookupError:
        return False


def _left_by_training(run: Path) -> dict[str, bytes]:
    files = "\n".join(sorted(path.name for path in run.iterdir()))
    return {name: (run / name).read_bytes() for name in (NETWORK_FILE, LOG_FILE)} | {
        "files": files.encode()
    }


def _logged(run: Path) -> list[bytes]:
    path = run / LOG_FILE
    return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []


def _saved_step(run: Path) -> int:
    if not (run / STATE_FILE).is_file():
        return 0
    return int(json.loads(read_tensors(run / STATE_FILE)[1]["progress"])["step"])


def _standing_of_training(run: Path) -> dict[str, bytes]:
    saved = _saved_step(run)
    lines = [line for line in _logged(run) if json.loads(line)["step"] <= saved]
    files = [*run.rglob("*.npy"), *run.glob("teacher_*.safetensors")]
    return {f"line {number}": line for number, line in enumerate(lines)} | {
        path.name: _digest(path) for path in files if not path.name.startswith(".")
    }


def _steps_lost(run: Path) -> int:
    logged = max((json.loads(line)["step"] for line in _logged(run)), default=0)
    return int(logged) - _saved_step(run)


def _kept(run: Path) -> dict[str, bytes]:
    return {p.name: _digest(p) for p in run.rglob("*.npy") if not p.name.startswith(".")}


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _lines(run: Path) -> list[bytes]:
    path = run / SCORES
    return path.read_bytes().split(b"\n") if path.is_file() else [b""]


def _records(run: Path) -> dict[str, bytes]:
    """Return the whole lines by clip, those of the same clip one after the other."""
    found: dict[str, bytes] = {}
    for line in _lines(run)[:-1]:
        clip = json.loads(line)["clip"]
        found[clip] = found.get(clip, b"") + line + b"\n"
    return found


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
        "run": {"checkpoint_steps": 1, "threads": 1},
    }
    return parse_recipe(content, source="crash_safety.py")


def make_caching(folder: Path, clips: int = CLIPS) -> Recipe:
    """Make clips, and a recipe that reads their picture and sound."""
    make_planted(folder / "planted", clips=clips)
    content = {
        "name": "crash-safety",
        "data": {"manifest": str(folder / "planted" / "manifest.parquet")},
        "video": {"frames": 8, "size": 112},
        "audio": {"name": "log_mel"},
        "fusion": {"name": "concat"},
    }
    return parse_recipe(content, source="crash_safety.py")


def make_sounds(folder: Path, clips: int = CLIPS) -> Path:
    """Make sounds of two to four seconds, every third one with words."""
    random = np.random.default_rng(0)
    inside = folder / "sounds"
    inside.mkdir()
    for number in range(clips):
        noise = random.normal(scale=3000.0, size=16_000 * (2 + number % 3))
        with wave.open(str(inside / f"{number:02d}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(noise.astype("<i2").tobytes())
        if number % 3 == 0:
            (inside / f"{number:02d}.txt").write_text(" ".join(random.choice(WORDS, size=8)))
    return inside


def measure(folder: Path, kills: int, seed: int) -> dict[str, Findings | None]:
    """Interrupt every work in every way; None for a way that this system does not have."""
    subjects = {
        "train": training(make_training(folder), folder),
        "cache": caching(make_caching(folder), folder),
        "predict": predicting(make_sounds(folder), DEFAULT_BUNDLE),
    }
    tries = max(2, kills // 10)
    found: dict[str, Findings | None] = {}

    def add(name: str, findings: Findings | None) -> None:
        found[name] = findings
        print(name, json.dumps(findings and findings.to_dict()), flush=True)

    for name, subject in subjects.items():
        place = folder / name
        add(f"{name}, killed", kill_often(subject, place / "kill", kills, seed))
        sizes = [p.stat().st_size for p in (place / "kill" / "whole").rglob("*") if p.is_file()]
        files = (resource.RLIMIT_FSIZE, (1, max(sizes)), tries, seed)
        add(f"{name}, small files", limit_often(subject, place / "limit", *files))
        add(f"{name}, full disk", fill_often(subject, place / "full", tries, seed))
    memory = (resource.RLIMIT_AS, (1 << 20, 1 << 28), tries, seed)
    add("train, no memory", limit_often(subjects["train"], folder / "memory", *memory))
    add("predict, workers killed", kill_workers(subjects["predict"], folder / "thin", kills, seed))
    return found


def main() -> None:
    """Measure and write the result file; exit code 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print, and write no result file")
    arguments = parser.parse_args()
    facts = circumstances(("torch", "safetensors"), threads=1)
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary), arguments.kills, arguments.seed)
    if not arguments.dry:
        figures = {name: findings and findings.to_dict() for name, findings in found.items()}
        write_result("crash-safety", facts, {"seed": arguments.seed, "subjects": figures})
    if any(findings and findings.faults for findings in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
