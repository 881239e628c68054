"""A small made-up corpus, and the real one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmperson.datasets.manifest import Manifest
from mmperson.datasets.sources.first_impressions import import_first_impressions


@pytest.fixture(scope="session")
def corpus(first_impressions: Path) -> Manifest:
    """All 10,000 rows of First Impressions V2."""
    return import_first_impressions(first_impressions)


@pytest.fixture(scope="session")
def made_up() -> Callable[..., Manifest]:
    """Build a manifest from (split, source, fold, words) per row, with random ratings."""

    def build(*rows: tuple[str, str, int, int], seed: int = 0) -> Manifest:
        split, source, fold, words = zip(*rows, strict=True)
        rng = np.random.default_rng(seed)
        return Manifest(
            sample_id=np.array([f"{name}.{i:03d}" for i, name in enumerate(source)]),
            source_id=np.array(source),
            split=np.array(split),
            fold=np.array(fold, dtype=np.int64),
            clip=(None,) * len(rows),
            transcript=tuple(" ".join(["word"] * count) for count in words),
            targets=rng.uniform(0.1, 0.9, (len(rows), 5)),
            descriptors=np.full((len(rows), 26), np.nan),
            extras={},
        )

    return build
