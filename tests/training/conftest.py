"""A small corpus whose labels follow its descriptors, and a tiny recipe to learn it."""

from pathlib import Path

import numpy as np
import pytest

from mmperson.config import Recipe, parse_recipe
from mmperson.data import Manifest, write_manifest

WORDS = ("calm", "quick", "bright", "house", "garden", "plan", "laugh", "river", "stone", "maybe")


def make_corpus(rows: int = 48) -> Manifest:
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(rows, 26)).astype(np.float32)
    descriptors[0] = np.nan
    heard = np.nan_to_num(descriptors[:, :5])
    texts = [" ".join(random.choice(WORDS, size=1 + row % 7)) for row in range(rows)]
    texts[1] = ""
    return Manifest(
        sample_id=np.array([f"clip{row:03d}" for row in range(rows)]),
        source_id=np.array([f"source{row // 3:02d}" for row in range(rows)]),
        split=np.array(["train"] * (rows - 12) + ["validation"] * 12),
        fold=np.full(rows, -1),
        clip=(None,) * rows,
        transcript=tuple(texts),
        targets=(0.5 + 0.1 * np.tanh(heard)).astype(np.float64),
        descriptors=descriptors,
        extras={},
    )


@pytest.fixture(scope="session")
def manifest_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "manifest.parquet"
    write_manifest(make_corpus(), path)
    return path


@pytest.fixture
def recipe(manifest_file: Path, tiny_text_weights: Path) -> Recipe:
    return parse_recipe(
        {
            "name": "tiny",
            "data": {"manifest": str(manifest_file)},
            "text": {"weights": str(tiny_text_weights), "layers": [0, 2], "trainable_layers": 1},
            "audio": {"tokens": 2, "dim": 16},
            "fusion": {"dim": 16, "heads": 2},
            "heads": {"members": 4},
            "optim": {"epochs": 2, "batch_size": 8, "ema_decay": 0.9},
            "run": {"checkpoint_steps": 2, "threads": 1},
        },
        source="test",
    )
