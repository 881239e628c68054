"""The rows of a recipe as network inputs: split, decoded, prepared and encoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mmperson.config import Recipe
from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.dataset import ClipDataset
from mmperson.datasets.decoding import decode_clips
from mmperson.datasets.manifest import Manifest
from mmperson.errors import DataError
from mmperson.evaluation.protocols import grouped_folds
from mmperson.models.input_spec import TOKENIZER_FILE, input_spec
from mmperson.models.network import PersonalityNetwork
from mmperson.pool.worker_pool import WorkerLimits
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.schema import MODALITIES
from mmperson.training.distillation.teacher import epoch_rows, fit_teacher
from mmperson.training.distributed import DistributedContext
from mmperson.training.encoding import encode_rows, fit_encoder
from mmperson.training.loop import Teach
from mmperson.training.step import OnNote

_REPORT_ROWS = 100  # Minimum number of rows between two progress notes.


def split_rows(recipe: Recipe, manifest: Manifest) -> tuple[Manifest, Manifest | None]:
    """Return the training rows and the selection rows, None if the recipe selects on none.

    Raises:
        DataError: A split does not exist.
    """
    data = recipe.data
    rows = manifest.where_split(data.train_split)
    if data.held_out is not None:
        fold = grouped_folds(rows.source_id, data.folds, recipe.seed)
        return rows.select(fold != data.held_out), rows.select(fold == data.held_out)
    if data.select_split is not None:
        return rows, manifest.where_split(data.select_split)
    return rows, None


def read_rows(
    recipe: Recipe, manifest: Manifest, run: Path, context: DistributedContext, on_note: OnNote
) -> tuple[ClipDataset, ClipDataset | None]:
    """Prepare the training and selection rows; the main process decodes their clips."""
    spec = input_spec(recipe)
    cache = FeatureCache(cache_folder(recipe, run) / spec.hash[:16], spec)
    tokenizer = None if recipe.text is None else load_tokenizer(run / TOKENIZER_FILE)
    prepare = partial(
        ClipDataset.prepare,
        spec=spec,
        tokenizer=tokenizer,
        cache=cache,
        targets=recipe.data.targets,
        groups=recipe.data.groups,
    )
    train_part, select_part = split_rows(recipe, manifest)
    for part in (train_part, select_part):
        if part is not None and context.is_main_process:
            decode_clips(part, spec, cache, WorkerLimits(), _progress(len(part), on_note))
    rows = prepare(train_part)
    usable = rows.present.any(axis=1) & np.isfinite(rows.targets).any(axis=1)
    if not usable.any():
        raise DataError(
            f"None of the {len(rows)} rows has {' or '.join(recipe.modalities)} and a label.",
            hint="Check the manifest with 'mmperson data check'.",
        )
    select = None if select_part is None else prepare(select_part)
    return rows.select(np.flatnonzero(usable)), select


def _progress(total: int, on_note: OnNote) -> Callable[[int], None]:
    """Return a callback that reports decoded rows at intervals."""
    due = 0

    def report(done: int) -> None:
        nonlocal due
        if due <= done < total:
            on_note(f"Decoding clips: {done:,} of {total:,} rows are ready.")
            due = done + max(_REPORT_ROWS, total // 10)

    return report


def encode_and_fit(
    network: PersonalityNetwork,
    rows: ClipDataset,
    select: ClipDataset | None,
    recipe: Recipe,
    run: Path,
) -> tuple[ClipDataset, ClipDataset | None, Teach | None]:
    """Fit label transform, head scale, encoders and teacher; encode with frozen encoders."""
    folder = cache_folder(recipe, run)
    targets = torch.from_numpy(rows.targets)
    network.labels.fit(targets)
    network.heads.fit_scale(network.labels(targets))
    for name in network.encoders:
        fit_encoder(network, name, rows, folder)
    frozen = [
        name
        for name, encoder in network.encoders.items()
        if encoder.frozen and (recipe.augment is None or name == "text")
    ]
    for name in frozen:
        rows = encode_rows(network, rows, name, folder)
        select = select and encode_rows(network, select, name, folder)
        present = np.flatnonzero(rows.present[:, MODALITIES.index(name)])
        network.encoders[name].fit_features([rows.features[name][row] for row in present])
    if recipe.teacher is None:
        return rows, select, None
    encoded = rows
    if recipe.text is not None and "text" not in rows.features:
        encoded = encode_rows(network, rows, "text", folder)
    teacher = fit_teacher(network, encoded, recipe.teacher, recipe.seed, run)
    return rows, select, partial(epoch_rows, teacher, network, rows, recipe.teacher, recipe.seed)


def cache_folder(recipe: Recipe, run: Path) -> Path:
    """Return the folder of decoded and encoded clips: ``run.cache``, else one in the run folder."""
    return recipe.run.cache or run / "cache"
