"""Small commands of mmperson that are interrupted on purpose, and what they leave in a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

from mmperson.config import Recipe, parse_recipe
from mmperson.datasets import Manifest, write_manifest
from mmperson.datasets.synthetic import make_synthetic
from mmperson.models.checkpoint import NETWORK_FILE, read_tensors
from mmperson.models.encoders.text import text_weights_folder
from mmperson.training.state import STATE_FILE
from mmperson.training.tracker import LOG_FILE

VOCABULARY = (
    "calm",
    "quick",
    "bright",
    "house",
    "garden",
    "plan",
    "laugh",
    "river",
    "stone",
    "maybe",
)
ROWS = 60
CLIPS = 16
SCORES = "scores.jsonl"


@dataclass(frozen=True)
class Subject:
    """A command that resumes where it was interrupted.

    Attributes:
        arguments: Of ``mmperson``, to do the work in a folder.
        result: What it leaves there in the end, by name; must not depend on interruptions.
        standing: What is done for good, by name; must stay as it is.
        lost: How much of what was done has to be done again.
        stage: How far it has come, in a word.
        failed: How many clips have an error in place of a score.
    """

    arguments: Callable[[Path], list[str]]
    result: Callable[[Path], dict[str, bytes]]
    standing: Callable[[Path], dict[str, bytes]]
    lost: Callable[[Path], int]
    stage: Callable[[Path], str]
    failed: Callable[[Path], int] = lambda run: 0


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
    """Return the decoding of a recipe's clips by one worker."""
    path = folder / "cached.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    return Subject(
        lambda run: ["data", "cache", str(path), "--cache", str(run), "--workers", "1"],
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
        lambda run: sum(json.loads(line)["error"] is not None for line in _lines(run)[:-1]),
    )


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
        record = json.loads(line)
        del record["timing_ms"]
        found[record["clip"]] = found.get(record["clip"], b"") + json.dumps(record).encode()
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
        transcript=tuple(
            " ".join(random.choice(VOCABULARY, size=1 + row % 9)) for row in range(ROWS)
        ),
        targets=(0.5 + 0.1 * np.tanh(sounds[:, :5])).astype(np.float64),
        descriptors=sounds,
        extras={},
    )
    path = folder / "manifest.parquet"
    write_manifest(manifest, path)
    content = {
        "name": "crash-safety",
        "data": {"manifest": str(path), "held_out": 0},
        "text": {"weights": str(_make_text_weights(folder)), "layers": [0, 2], "dim": 8}
        | {"trainable_layers": 0},
        "audio": {"tokens": 2, "dim": 16},
        "fusion": {"dim": 16, "heads": 2},
        "heads": {"members": 4},
        "teacher": {"steps": 4, "sources": 8},
        "loss": {"name": "mse", "soft_weight": 0.5},
        "optim": {"epochs": 5, "batch_size": 8, "ema_decay": 0.9, "schedule": "plateau"},
        "run": {"checkpoint_steps": 1, "threads": 1},
    }
    return parse_recipe(content, source="crash_safety")


def _make_text_weights(folder: Path) -> Path:
    """Make a random BERT of two layers, with the real tokenizer."""
    torch.manual_seed(0)
    shape = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    BertModel(shape).save_pretrained(folder / "bert")
    shutil.copyfile(
        text_weights_folder("minilm") / "tokenizer.json", folder / "bert" / "tokenizer.json"
    )
    return folder / "bert"


def make_caching(folder: Path, clips: int = CLIPS) -> Recipe:
    """Make clips, and a recipe that reads their picture and sound."""
    make_synthetic(folder / "planted", clips=clips)
    content = {
        "name": "crash-safety",
        "data": {"manifest": str(folder / "planted" / "manifest.parquet")},
        "video": {"frames": 8, "size": 112},
        "audio": {"name": "log_mel"},
        "fusion": {"name": "concat"},
    }
    return parse_recipe(content, source="crash_safety")


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
            (inside / f"{number:02d}.txt").write_text(" ".join(random.choice(VOCABULARY, size=8)))
    return inside
