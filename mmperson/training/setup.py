"""A training run from recipe to run folder, and scoring with a finished one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from mmperson.config import Recipe, load_recipe
from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.dataset import ClipDataset
from mmperson.datasets.decoding import decode_clips, decoded
from mmperson.datasets.manifest import Manifest, read_manifest
from mmperson.errors import DataError, ResumeMismatch, TrainingError
from mmperson.evaluation.protocols import grouped_folds
from mmperson.files import atomic_write, remove_stale, write_errors
from mmperson.models.checkpoint import (
    NETWORK_FILE,
    RECIPE_FILE,
    load_network,
    member_folder,
    save_network,
)
from mmperson.models.input_spec import TOKENIZER_FILE, input_spec, tokenizer_file
from mmperson.models.network import PersonalityNetwork
from mmperson.pool.worker_pool import WorkerLimits
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.schema import MODALITIES
from mmperson.training.distillation.teacher import epoch_rows, fit_teacher
from mmperson.training.distributed import DistributedContext, distributed_context
from mmperson.training.encoding import encode_rows, fit_encoder
from mmperson.training.loop import OnEpoch, Teach, fit, score
from mmperson.training.optim import build_optimizer
from mmperson.training.state import TrainingState, load_trainable
from mmperson.training.step import OnNote, out_of_memory

MANIFEST_FILE = "manifest.sha256"
_REPORT_ROWS: Final = 100  # Rows between two reports of progress, at least.


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        run: Run folder.
        train_rows: Rows that were learned from; by any member, if it is an ensemble.
        select_rows: Rows that chose the epoch; of any member.
        best: Best selection metric, None without selection; the mean over the members.
        resumed: An interrupted run was taken up.
    """

    run: Path
    train_rows: int
    select_rows: int
    best: float | None
    resumed: bool


def train(
    recipe: Recipe,
    run: Path,
    on_epoch: OnEpoch = lambda *_: None,
    on_note: OnNote = lambda _: None,
) -> RunResult:
    """Train a recipe into a run folder; an interrupted run of the same recipe goes on.

    An ensemble's members have folders of their own in it, ``fold-0`` and so on.

    Args:
        recipe: The resolved recipe.
        run: Folder for the recipe, the log, the state and the network.
        on_epoch: Told about every epoch.
        on_note: Told what the user should know.

    Raises:
        DataError: The manifest cannot be used.
        ResumeMismatch: The folder holds a run of another recipe.
        NonFiniteLoss: Training diverged.
        TrainingError: The memory does not suffice.
        UsageError: The run folder or the cache cannot be written.
    """
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    # Some CUDA kernels have no such variant; they say so instead of stopping the run.
    torch.use_deterministic_algorithms(True, warn_only=recipe.run.device == "cuda")
    with distributed_context(recipe.run.device) as context:
        start = _train_members if recipe.data.ensemble else _train
        try:
            return start(recipe, run, context, on_epoch, on_note)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise TrainingError(
                "The system gave training no more memory.",
                hint="Free some, or lower optim.batch_size; the same command goes on from the last "
                "checkpoint.",
            ) from error


def _train_members(
    recipe: Recipe, run: Path, context: DistributedContext, on_epoch: OnEpoch, on_note: OnNote
) -> RunResult:
    """Train a network for every fold; what is decoded and encoded is shared."""
    folds = recipe.data.folds
    split_rows(recipe.member(0), read_manifest(recipe.data.manifest))
    if context.is_main_process:
        _claim(run, recipe)
    shared = recipe.run.model_copy(update={"cache": _cache(recipe, run)})
    found: list[RunResult] = []
    for fold in range(folds):
        on_note(f"Member {fold + 1} of {folds}: fold {fold} is held out.")
        member = recipe.member(fold).model_copy(update={"run": shared})
        found.append(_train(member, member_folder(run, fold), context, on_epoch, on_note))
    bests = [result.best for result in found if result.best is not None]
    return RunResult(
        run,
        train_rows=sum(result.train_rows for result in found) // (folds - 1),
        select_rows=sum(result.select_rows for result in found),
        best=float(np.mean(bests)) if bests else None,
        resumed=any(result.resumed for result in found),
    )


def _train(
    recipe: Recipe, run: Path, context: DistributedContext, on_epoch: OnEpoch, on_note: OnNote
) -> RunResult:
    manifest = read_manifest(recipe.data.manifest)
    split_rows(recipe, manifest)  # Splits that are not there are named before a folder is made.
    spec = input_spec(recipe)
    with context.main_process_first():
        if context.is_main_process:
            _claim(run, recipe)
        rows, select = _read_rows(recipe, manifest, run, context, on_note)
        torch.manual_seed(recipe.seed)
        network = PersonalityNetwork(recipe, spec)
        rows, select, teach = _prepare(network, rows, select, recipe, run)
    network.to(recipe.run.device)
    state = TrainingState(network, build_optimizer(network, recipe.optim, recipe.pretrained))
    resumed = state.restore(run)
    weights = fit(state, rows, select, teach, recipe, run, context, on_epoch, on_note)
    load_trainable(network, weights)
    if recipe.heads.calibrate and select is not None:
        scores = torch.from_numpy(score(network, select)).float()
        network.heads.calibrate(scores, torch.from_numpy(select.targets))
    if context.is_main_process:
        save_network(run / NETWORK_FILE, network.cpu().state_dict(), recipe, spec)
    return RunResult(run, len(rows), len(select or ()), state.progress.best, resumed)


def _read_rows(
    recipe: Recipe, manifest: Manifest, run: Path, context: DistributedContext, on_note: OnNote
) -> tuple[ClipDataset, ClipDataset | None]:
    """Prepare the rows to learn from and those to select on; who leads decodes their clips."""
    spec = input_spec(recipe)
    cache = FeatureCache(_cache(recipe, run) / spec.hash[:16], spec)
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
            hint="Look at the manifest with 'mmperson data check'.",
        )
    select = None if select_part is None else prepare(select_part)
    return rows.select(np.flatnonzero(usable)), select


def _progress(total: int, on_note: OnNote) -> Callable[[int], None]:
    """Return what says how many rows are decoded: at the start, and now and then."""
    due = 0

    def report(done: int) -> None:
        nonlocal due
        if due <= done < total:
            on_note(f"Decoding clips: {done:,} of {total:,} rows are ready.")
            due = done + max(_REPORT_ROWS, total // 10)

    return report


def score_run(
    run: str | Path,
    manifest: Manifest,
    modalities: tuple[str, ...] | None = None,
    cache: Path | None = None,
) -> npt.NDArray[np.float64]:
    """Score the rows of a manifest with a run's network.

    Args:
        run: Folder made by ``train``; of an ensemble, the members' scores are averaged.
        manifest: Rows.
        modalities: Modalities to use; None for all that the network reads.
        cache: Folder of decoded and encoded clips, as in ``run.cache``; None computes them anew.

    Returns:
        float64 (row, target), traits about [0, 1]; NaN where a row has none of the modalities.
    """
    trained = load_network(run)
    tokenizer = None
    if trained.spec.text is not None:
        tokenizer = load_tokenizer(Path(run) / TOKENIZER_FILE)
    targets = trained.recipe.data.targets
    folder = None if cache is None else cache / trained.spec.hash[:16]
    with decoded(manifest, trained.spec, folder) as kept:
        dataset = ClipDataset.prepare(manifest, trained.spec, tokenizer, kept, targets=targets)
        for name, encoder in trained.network.encoders.items():
            if encoder.frozen and cache is not None:
                dataset = encode_rows(trained.network, dataset, name, cache)
        return score(trained.network, dataset, modalities or MODALITIES)


def split_rows(recipe: Recipe, manifest: Manifest) -> tuple[Manifest, Manifest | None]:
    """Return the rows to learn from and the rows to select on.

    Raises:
        DataError: There is no such split.
    """
    data = recipe.data
    rows = manifest.where_split(data.train_split)
    if data.held_out is not None:
        fold = grouped_folds(rows.source_id, data.folds, recipe.seed)
        return rows.select(fold != data.held_out), rows.select(fold == data.held_out)
    if data.select_split is not None:
        return rows, manifest.where_split(data.select_split)
    return rows, None


def _claim(run: Path, recipe: Recipe) -> None:
    """Make the run folder this recipe's, before anything in it is read or written.

    Raises:
        UsageError: The folder cannot be written.
        ResumeMismatch: It holds a run of another recipe or of another manifest.
    """
    path, corpus = run / RECIPE_FILE, run / MANIFEST_FILE
    rows = hashlib.sha256(recipe.data.manifest.read_bytes()).hexdigest()
    if path.is_file():
        found, wanted = load_recipe(path).hash, recipe.hash
        if found != wanted:
            raise ResumeMismatch(
                f"{str(run)!r} holds a run of another recipe ({found[:12]}, now {wanted[:12]}).",
                hint="Give another --out, or the recipe that the run began with.",
            )
    if corpus.is_file() and corpus.read_text(encoding="utf-8") != rows:
        raise ResumeMismatch(
            f"{str(run)!r} began with other content of {str(recipe.data.manifest)!r}.",
            hint="Give another --out, or the manifest that the run began with.",
        )
    with write_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        remove_stale(run)
    for target, content in ((path, recipe.to_yaml()), (corpus, rows)):
        with atomic_write(target) as unfinished:
            unfinished.write_text(content, encoding="utf-8")
    if recipe.text is not None:
        with atomic_write(run / TOKENIZER_FILE) as unfinished:
            shutil.copyfile(tokenizer_file(recipe.text), unfinished)


def _prepare(
    network: PersonalityNetwork,
    rows: ClipDataset,
    select: ClipDataset | None,
    recipe: Recipe,
    run: Path,
) -> tuple[ClipDataset, ClipDataset | None, Teach | None]:
    """Fit what comes from the training rows instead of from gradients, and the teacher."""
    folder = _cache(recipe, run)
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
        here = np.flatnonzero(rows.present[:, MODALITIES.index(name)])
        network.encoders[name].fit_features([rows.features[name][row] for row in here])
    if recipe.teacher is None:
        return rows, select, None
    known = rows
    if recipe.text is not None and "text" not in rows.features:
        known = encode_rows(network, rows, "text", folder)
    teacher = fit_teacher(network, known, recipe.teacher, recipe.seed, run)
    return rows, select, partial(epoch_rows, teacher, network, rows, recipe.teacher, recipe.seed)


def _cache(recipe: Recipe, run: Path) -> Path:
    return recipe.run.cache or run / "cache"
