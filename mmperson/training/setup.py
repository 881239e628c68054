"""Train a recipe into a run folder, and score rows with a finished run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
_REPORT_ROWS = 100  # Minimum number of rows between two progress notes.


@dataclass(frozen=True)
class RunResult:
    """The result of a training run.

    Attributes:
        run: Run folder.
        train_rows: Training rows; of an ensemble, of all members.
        select_rows: Selection rows; of an ensemble, of all members.
        best: Best selection metric, None without selection; of an ensemble, the members' mean.
        resumed: Whether an interrupted run was resumed.
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
    """Train a recipe into a run folder, or resume an interrupted run of the same recipe.

    An ensemble's members have subfolders, ``fold-0`` and so on.

    Args:
        recipe: The resolved recipe.
        run: Folder for the recipe, the log, the state and the network.
        on_epoch: Called after every epoch.
        on_note: Called with notes for the user.

    Raises:
        DataError: The manifest is invalid.
        ResumeMismatch: The folder contains a run of another recipe or manifest.
        NonFiniteLoss: Training diverged.
        TrainingError: Out of memory.
        UsageError: The run folder or the cache cannot be written.
    """
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    # Some CUDA kernels have no deterministic variant; they warn.
    torch.use_deterministic_algorithms(True, warn_only=recipe.run.device == "cuda")
    with distributed_context(recipe.run.device) as context:
        start = _train_members if recipe.data.ensemble else _train
        try:
            return start(recipe, run, context, on_epoch, on_note)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise TrainingError(
                "Training ran out of memory.",
                hint="Free some memory, or lower optim.batch_size; the same command resumes from "
                "the last checkpoint.",
            ) from error


def _train_members(
    recipe: Recipe, run: Path, context: DistributedContext, on_epoch: OnEpoch, on_note: OnNote
) -> RunResult:
    """Train one network per fold, with a shared cache."""
    folds = recipe.data.folds
    split_rows(recipe.member(0), read_manifest(recipe.data.manifest))
    if context.is_main_process:
        _claim(run, recipe)
    shared = recipe.run.model_copy(update={"cache": _cache(recipe, run)})
    results: list[RunResult] = []
    for fold in range(folds):
        on_note(f"Member {fold + 1} of {folds}: fold {fold} is held out.")
        member = recipe.member(fold).model_copy(update={"run": shared})
        results.append(_train(member, member_folder(run, fold), context, on_epoch, on_note))
    bests = [result.best for result in results if result.best is not None]
    return RunResult(
        run,
        train_rows=sum(result.train_rows for result in results) // (folds - 1),
        select_rows=sum(result.select_rows for result in results),
        best=float(np.mean(bests)) if bests else None,
        resumed=any(result.resumed for result in results),
    )


def _train(
    recipe: Recipe, run: Path, context: DistributedContext, on_epoch: OnEpoch, on_note: OnNote
) -> RunResult:
    manifest = read_manifest(recipe.data.manifest)
    split_rows(recipe, manifest)  # Raises for a missing split before the folder is created.
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
    """Prepare the training and selection rows; the main process decodes their clips."""
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


def score_run(
    run: str | Path,
    manifest: Manifest,
    modalities: tuple[str, ...] | None = None,
    cache: Path | None = None,
) -> npt.NDArray[np.float64]:
    """Score the rows of a manifest with a run's network.

    Args:
        run: Run folder of ``train``; an ensemble's scores are the members' mean.
        manifest: Rows.
        modalities: Modalities to use; None for all that the network reads.
        cache: Cache folder of decoded and encoded clips, as in ``run.cache``; None for no cache.

    Returns:
        float64 (row, target), traits about [0, 1]; NaN where a row has none of the modalities.

    Raises:
        BundleNotFound: The folder has no network.
        BundleCorrupt: The network is damaged.
    """
    trained = load_network(run)
    tokenizer = None
    if trained.spec.text is not None:
        tokenizer = load_tokenizer(Path(run) / TOKENIZER_FILE)
    targets = trained.recipe.data.targets
    folder = None if cache is None else cache / trained.spec.hash[:16]
    with decoded(manifest, trained.spec, folder) as clips:
        dataset = ClipDataset.prepare(manifest, trained.spec, tokenizer, clips, targets=targets)
        for name, encoder in trained.network.encoders.items():
            if encoder.frozen and cache is not None:
                dataset = encode_rows(trained.network, dataset, name, cache)
        return score(trained.network, dataset, modalities or MODALITIES)


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


def _claim(run: Path, recipe: Recipe) -> None:
    """Write recipe, manifest hash and tokenizer to the run folder; refuse those of another run."""
    recipe_path, manifest_path = run / RECIPE_FILE, run / MANIFEST_FILE
    manifest_hash = hashlib.sha256(recipe.data.manifest.read_bytes()).hexdigest()
    if recipe_path.is_file() and (old := load_recipe(recipe_path).hash) != recipe.hash:
        raise ResumeMismatch(
            f"{str(run)!r} is a run of another recipe ({old[:12]}, now {recipe.hash[:12]}).",
            hint="Give another --out, or the recipe that the run started with.",
        )
    if manifest_path.is_file() and manifest_path.read_text(encoding="utf-8") != manifest_hash:
        raise ResumeMismatch(
            f"{str(run)!r} started with other content of {str(recipe.data.manifest)!r}.",
            hint="Give another --out, or the manifest that the run started with.",
        )
    with write_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        remove_stale(run)
    for target, content in ((recipe_path, recipe.to_yaml()), (manifest_path, manifest_hash)):
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
    """Fit label transform, head scale, encoders and teacher; encode with frozen encoders."""
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
        present = np.flatnonzero(rows.present[:, MODALITIES.index(name)])
        network.encoders[name].fit_features([rows.features[name][row] for row in present])
    if recipe.teacher is None:
        return rows, select, None
    encoded = rows
    if recipe.text is not None and "text" not in rows.features:
        encoded = encode_rows(network, rows, "text", folder)
    teacher = fit_teacher(network, encoded, recipe.teacher, recipe.seed, run)
    return rows, select, partial(epoch_rows, teacher, network, rows, recipe.teacher, recipe.seed)


def _cache(recipe: Recipe, run: Path) -> Path:
    return recipe.run.cache or run / "cache"
