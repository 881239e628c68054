"""Small corpora that the tests of this room build."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmperson.datasets import Manifest, import_corpus
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS
from mmperson.traits import TRAITS


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Return a builder of flawless manifests; keywords replace columns."""

    def build(rows: int = 6, **columns: object) -> Manifest:
        number = np.arange(rows)
        random = np.random.default_rng(0)
        quality = random.uniform(0.2, 0.8, size=(rows, 1))
        flawless = {
            "sample_id": np.array([f"video{n:06d}.000" for n in number], dtype=np.str_),
            "source_id": np.array([f"video{n:06d}" for n in number], dtype=np.str_),
            "split": np.array([("train", "validation", "test")[n % 3] for n in number], np.str_),
            "fold": number % 2,
            "clip": (None,) * rows,
            "transcript": tuple(f"words of clip {n}" for n in number),
            "targets": np.repeat(quality, len(TRAITS), axis=1),
            "descriptors": random.normal(size=(rows, len(DESCRIPTORS))).astype(np.float32),
        }
        return Manifest(**(flawless | columns))  # type: ignore[arg-type]

    return build


@pytest.fixture(scope="session")
def corpus(first_impressions: Path) -> Manifest:
    """The real First Impressions V2."""
    return import_corpus("first-impressions", first_impressions)
