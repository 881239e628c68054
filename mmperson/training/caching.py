"""Decode the clips of a recipe once, before it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmperson.config import Recipe
from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.decoding import decode_clips, refusals
from mmperson.datasets.manifest import read_manifest
from mmperson.errors import UsageError
from mmperson.models.input_spec import input_spec
from mmperson.pool.worker_pool import WorkerLimits


@dataclass(frozen=True)
class CachedClips:
    """What ``cache_clips`` left behind.

    Attributes:
        folder: Folder of the decoded clips.
        rows: Rows of the recipe's splits.
        unread: How many of them have neither a picture nor a sound.
        refused: Why clips cannot be read, by their paths.
    """

    folder: Path
    rows: int
    unread: int
    refused: dict[str, str]


def cache_clips(
    recipe: Recipe,
    folder: Path,
    limits: WorkerLimits,
    on_progress: Callable[[int, int], object] = lambda *_: None,
) -> CachedClips:
    """Decode the clips that a recipe learns from and selects on; what is there already stays.

    Args:
        recipe: The resolved recipe.
        folder: The ``run.cache`` of its trainings.
        limits: Number of workers, and what a clip may cost one.
        on_progress: Called with (rows done, rows in all).

    Raises:
        DataError: The manifest cannot be used, a clip is missing, or no worker can be started.
        UsageError: The recipe reads words alone, or the cache cannot be written.
    """
    spec = input_spec(recipe)
    if spec.video is None and spec.audio is None:
        raise UsageError("The recipe reads words alone: there is nothing to decode.")
    manifest = read_manifest(recipe.data.manifest)
    splits = [recipe.data.train_split, recipe.data.select_split]
    rows = manifest.select(np.isin(manifest.split, [name for name in splits if name]))
    cache = FeatureCache(folder / spec.hash[:16], spec)
    unread = decode_clips(rows, spec, cache, limits, lambda done: on_progress(done, len(rows)))
    return CachedClips(cache.folder, len(rows), unread, refusals(rows, spec, cache))
