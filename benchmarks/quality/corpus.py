"""A random corpus of a few rows, on which the smallest runs show that a benchmark works."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmperson.datasets import Manifest, write_manifest

WORDS = ("calm", "quick", "bright", "house", "garden", "plan", "laugh", "river", "stone", "maybe")


def write_corpus(
    folder: Path, *, train: int = 0, validation: int = 0, test: int = 0, clip: Path | None = None
) -> Path:
    """Write a manifest of random words, descriptors and targets; three rows share a source.

    Args:
        folder: Where to.
        train: Training rows.
        validation: Validation rows.
        test: Test rows.
        clip: The clip of every row.

    Returns:
        The manifest's path.
    """
    rows = train + validation + test
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(rows, 26)).astype(np.float32)
    texts = [" ".join(random.choice(WORDS, size=1 + row % 7)) for row in range(rows)]
    texts[1] = ""
    manifest = Manifest(
        sample_id=np.array([f"clip{row:03d}" for row in range(rows)]),
        source_id=np.array([f"source{row // 3:02d}" for row in range(rows)]),
        split=np.repeat(["train", "validation", "test"], (train, validation, test)),
        fold=np.full(rows, -1),
        clip=(None if clip is None else str(clip),) * rows,
        transcript=tuple(texts),
        targets=(0.5 + 0.1 * np.tanh(descriptors[:, :5])).astype(np.float64),
        descriptors=descriptors,
        extras={},
    )
    path = folder / "corpus.parquet"
    write_manifest(manifest, path)
    return path
