"""Decode the clips of a recipe before training."""

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
    """The result of ``cache_clips``.

    Attributes:
        folder: Folder of the decoded clips.
        rows: Number of rows in the recipe's splits.
        unread: Number of rows with neither video nor audio.
        refused: Reasons why clips cannot be read, by path.
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
    """Decode the clips of a recipe's training and selection splits; cached clips are kept.

    Args:
        recipe: The resolved recipe.
        folder: The ``run.cache`` of its trainings.
        limits: Number of workers and their limits.
        on_progress: Called with (rows done, all rows).

    Raises:
        DataError: The manifest is invalid, a clip is missing, or no worker starts.
        UsageError: The recipe only reads text, or the cache cannot be written.
    """
    spec = input_spec(recipe)
    if spec.video is None and spec.audio is None:
        raise UsageError("The recipe only reads text: there is nothing to decode.")
    manifest = read_manifest(recipe.data.manifest)
    splits = [recipe.data.train_split, recipe.data.select_split]
    rows = manifest.select(np.isin(manifest.split, [name for name in splits if name]))
    cache = FeatureCache(folder / spec.hash[:16], spec)
    unread = decode_clips(rows, spec, cache, limits, lambda done: on_progress(done, len(rows)))
    return CachedClips(cache.folder, len(rows), unread, refusals(rows, spec, cache))
