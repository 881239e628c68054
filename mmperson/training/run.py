"""A training run from recipe to run folder, and scoring with a finished one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mmperson.config import Recipe, load_recipe
from mmperson.data.cache import FeatureCache
from mmperson.data.dataset import ClipDataset
from mmperson.data.manifest import Manifest, read_manifest
from mmperson.errors import ResumeMismatch
from mmperson.evaluation.protocols import grouped_folds
from mmperson.inputs.spec import DescriptorSpec, InputSpec, TextSpec
from mmperson.inputs.text import load_tokenizer, tokenizer_sha256
from mmperson.models.checkpoint import NETWORK_FILE, load_network, save_network
from mmperson.models.encoders.text import text_weights_folder
from mmperson.models.network import PersonalityNetwork
from mmperson.schema import MODALITIES
from mmperson.training.distil import epoch_rows, fit_teacher, mean_states
from mmperson.training.loop import OnEpoch, Teach, fit, score
from mmperson.training.optim import build_optimizer
from mmperson.training.state import TrainingState, load_trainable

RECIPE_FILE = "recipe.yaml"
TOKENIZER_FILE = "tokenizer.json"

_PROJECTION_ROWS = 2000  # Clips that choose the principal components of the text.


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        run: Run folder.
        train_rows: Rows that were learned from.
        select_rows: Rows that chose the epoch.
        best: Best selection metric, None without selection.
        resumed: An interrupted run was taken up.
    """

    run: Path
    train_rows: int
    select_rows: int
    best: float | None
    resumed: bool


def train(recipe: Recipe, run: Path, on_epoch: OnEpoch = lambda *_: None) -> RunResult:
    """Train a recipe into a run folder; an interrupted run of the same recipe goes on.

    Args:
        recipe: The resolved recipe.
        run: Folder for the recipe, the log, the state and the network.
        on_epoch: Told about every epoch.

    Raises:
        DataError: The manifest cannot be used.
        ResumeMismatch: The folder holds a run of another recipe.
        NonFiniteLoss: Training diverged.
    """
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    torch.use_deterministic_algorithms(True)
    manifest = read_manifest(recipe.data.manifest)
    spec = input_spec(recipe)
    _claim(run, recipe)
    tokenizer = None
    if recipe.text is not None:
        source = text_weights_folder(recipe.text.weights) / TOKENIZER_FILE
        shutil.copyfile(source, run / TOKENIZER_FILE)
        tokenizer = load_tokenizer(source)
    cache = FeatureCache(run / "cache", spec)
    train_part, select_part = split_rows(recipe, manifest)
    rows = ClipDataset.prepare(train_part, spec, tokenizer, cache)
    rows = rows.select(np.flatnonzero(rows.present.any(axis=1)))
    select = (
        None if select_part is None else ClipDataset.prepare(select_part, spec, tokenizer, cache)
    )

    torch.manual_seed(recipe.seed)
    network = PersonalityNetwork(recipe, spec)
    rows, select, teach = _prepare(network, rows, select, recipe, run)
    network.to(recipe.run.device)
    state = TrainingState(network, build_optimizer(network, recipe.optim))
    resumed = state.restore(run)
    weights = fit(state, rows, select, teach, recipe, run, on_epoch)
    load_trainable(network, weights)
    save_network(run / NETWORK_FILE, network.cpu().state_dict(), recipe, spec)
    return RunResult(run, len(rows), len(select or ()), state.progress.best, resumed)


def score_run(
    run: str | Path, manifest: Manifest, modalities: tuple[str, ...] | None = None
) -> npt.NDArray[np.float64]:
    """Score the rows of a manifest with a run's network.

    Args:
        run: Folder made by ``train``.
        manifest: Rows.
        modalities: Modalities to use; None for all that the network reads.

    Returns:
        float64 (row, trait), about [0, 1]; NaN where a row has none of the modalities.
    """
    trained = load_network(run)
    tokenizer = None
    if trained.spec.text is not None:
        tokenizer = load_tokenizer(Path(run) / TOKENIZER_FILE)
    dataset = ClipDataset.prepare(manifest, trained.spec, tokenizer)
    return score(trained.network, dataset, modalities or MODALITIES)


def input_spec(recipe: Recipe) -> InputSpec:
    """Return the preprocessing that a recipe's encoders need."""
    text = None
    if recipe.text is not None:
        tokenizer = text_weights_folder(recipe.text.weights) / TOKENIZER_FILE
        text = TextSpec(
            tokenizer_sha256=tokenizer_sha256(tokenizer), max_tokens=recipe.text.max_tokens
        )
    return InputSpec(audio=None if recipe.audio is None else DescriptorSpec(), text=text)


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
    """Make the run folder this recipe's, before anything in it is read or written."""
    path = run / RECIPE_FILE
    if path.is_file():
        found, wanted = load_recipe(path).hash, recipe.hash
        if found != wanted:
            raise ResumeMismatch(
                f"{str(run)!r} holds a run of another recipe ({found[:12]}, now {wanted[:12]}).",
                hint="Give another --out, or the recipe that the run began with.",
            )
    run.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(recipe.to_yaml(), encoding="utf-8")
    unfinished.replace(path)


def _prepare(
    network: PersonalityNetwork,
    rows: ClipDataset,
    select: ClipDataset | None,
    recipe: Recipe,
    run: Path,
) -> tuple[ClipDataset, ClipDataset | None, Teach | None]:
    """Fit what comes from the training rows instead of from gradients, and the teacher."""
    network.heads.fit_scale(torch.from_numpy(rows.targets))
    if rows.descriptors is not None:
        heard = rows.present[:, MODALITIES.index("audio")] > 0
        network.encoders["audio"].fit_scale(torch.from_numpy(rows.descriptors[heard]))
    known = rows
    if recipe.text is not None:
        drawn = np.random.default_rng(recipe.seed).permutation(len(rows))[:_PROJECTION_ROWS]
        sample = rows.select(drawn)
        network.encoders["text"].fit_projection(mean_states(network, sample))
        known = rows.with_text_tokens(network.text_tokens)
    teach = None
    if recipe.teacher is not None:
        teacher = fit_teacher(network, known, recipe.teacher, recipe.seed, run)
        learned = known if _frozen_text(recipe) else rows
        teach = partial(epoch_rows, teacher, network, learned, recipe.teacher, recipe.seed)
    if _frozen_text(recipe):
        rows, select = known, select and select.with_text_tokens(network.text_tokens)
    return rows, select, teach


def _frozen_text(recipe: Recipe) -> bool:
    return recipe.text is not None and recipe.text.trainable_layers == 0
