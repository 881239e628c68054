"""Train a recipe into a run folder, and score rows with a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mmperson.config import Recipe
from mmperson.datasets.dataset import ClipDataset
from mmperson.datasets.decoding import decoded
from mmperson.datasets.manifest import Manifest, read_manifest
from mmperson.errors import TrainingError
from mmperson.models.checkpoint import NETWORK_FILE, load_network, member_folder, save_network
from mmperson.models.input_spec import TOKENIZER_FILE, input_spec
from mmperson.models.network import PersonalityNetwork
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.schema import MODALITIES
from mmperson.training.data import cache_folder, encode_and_fit, read_rows, split_rows
from mmperson.training.distributed import DistributedContext, distributed_context
from mmperson.training.encoding import encode_rows
from mmperson.training.loop import OnEpoch, fit, score
from mmperson.training.optim import build_optimizer
from mmperson.training.run_folder import claim_folder
from mmperson.training.state import TrainingState, load_trainable
from mmperson.training.step import OnNote, out_of_memory


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
        claim_folder(run, recipe)
    shared = recipe.run.model_copy(update={"cache": cache_folder(recipe, run)})
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
            claim_folder(run, recipe)
        rows, select = read_rows(recipe, manifest, run, context, on_note)
        torch.manual_seed(recipe.seed)
        network = PersonalityNetwork(recipe, spec)
        rows, select, teach = encode_and_fit(network, rows, select, recipe, run)
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
