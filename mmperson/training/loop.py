"""The training loop, which can be interrupted at any step and resumes with identical bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmperson.config import Recipe
from mmperson.datasets.dataset import ClipDataset
from mmperson.evaluation.arrays import nan_mean
from mmperson.evaluation.metrics import ccc, one_minus_mae, pcc, r2
from mmperson.models.network import PersonalityNetwork
from mmperson.schema import MODALITIES
from mmperson.training.distributed import DistributedContext
from mmperson.training.loader import StepDataset
from mmperson.training.optim import set_rate, wait_for_better
from mmperson.training.state import TrainingState, load_trainable, trainable
from mmperson.training.step import OnNote, TrainStep
from mmperson.training.tracker import Tracker

Teach = Callable[[int], tuple[ClipDataset, npt.NDArray[np.float32]]]
"""Epoch to its rows and the teacher's scores, float32 (row, 8, trait) by presence code."""

OnEpoch = Callable[[int, int, dict[str, float]], None]
"""Called after every epoch with its number from 1, the number of epochs and its figures."""


def fit(
    state: TrainingState,
    train: ClipDataset,
    select: ClipDataset | None,
    teach: Teach | None,
    recipe: Recipe,
    run: Path,
    context: DistributedContext,
    on_epoch: OnEpoch,
    on_note: OnNote,
) -> dict[str, Tensor]:
    """Train from ``state`` to the end and return the selected weights.

    These are the weights of the epoch with the best selection metric, or the last ones without
    selection rows. With a moving average, the average is evaluated and returned.

    Args:
        state: A new or restored state; changed in place and saved to ``run``.
        train: Training rows.
        select: Selection rows, or None.
        teach: Returns the rows of an epoch and the teacher's scores for them; None trains without a
            teacher.
        recipe: The resolved recipe.
        run: Run folder.
        context: The processes that train together.
        on_epoch: Called after every epoch.
        on_note: Called with notes for the user.

    Returns:
        Trainable parameters by name.

    Raises:
        NonFiniteLoss: A loss is not finite; the message names the step and its clips.
        TrainingError: A single clip does not fit into memory.
    """
    optim, progress = recipe.optim, state.progress
    steps = StepDataset(train, recipe, context)
    train_step = TrainStep(state, recipe, context, on_note)
    soft_targets = None
    with Tracker(run, progress.step, writes=context.is_main_process) as tracker:
        batches = steps.from_step(progress.step) if teach is None else None
        while not progress.done:
            epoch, within = divmod(progress.step, steps.per_epoch)
            if teach is not None and (within == 0 or soft_targets is None):
                steps.rows, soft_targets = teach(epoch)
            batch = steps[progress.step] if batches is None else next(batches)
            rows = steps.rows_of(progress.step)
            rate = set_rate(state.optimizer, optim, progress, len(steps))
            value = train_step.run(steps.rows, rows, batch, soft_targets)
            progress.step += 1
            progress.epoch_loss += value
            tracker.log(progress.step, loss=value, rate=rate)
            epoch_ends = progress.step % steps.per_epoch == 0
            if epoch_ends:
                figures = {"loss": progress.epoch_loss / steps.per_epoch}
                figures |= _select(state, select, recipe, epoch)
                if optim.schedule == "plateau":
                    wait_for_better(progress, epoch)
                progress.epoch_loss = 0.0
                tracker.log(progress.step, epoch=epoch + 1, **figures)
                on_epoch(epoch + 1, optim.epochs, figures)
                progress.done = epoch + 1 == optim.epochs or _stalled(state, recipe, epoch)
            due = epoch_ends or progress.step % recipe.run.checkpoint_steps == 0
            if due and context.is_main_process:
                state.save(run)
    return state.best_weights or state.average or trainable(state.network)


def score(
    network: PersonalityNetwork,
    dataset: ClipDataset,
    modalities: tuple[str, ...] = MODALITIES,
    batch_size: int = 64,
) -> npt.NDArray[np.float64]:
    """Score every row with the given modalities; others count as absent.

    Returns:
        float64 (row, target), traits about [0, 1]; NaN where all modalities are absent.
    """
    allowed = torch.tensor([float(name in modalities) for name in MODALITIES])
    scores = np.full(dataset.targets.shape, np.nan)
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        for rows in dataset.by_length(batch_size):
            batch = {name: tensor.to(device) for name, tensor in dataset.batch(rows).items()}
            batch["present"] = batch["present"] * allowed.to(device)
            usable = batch["present"].any(dim=1).cpu().numpy()
            scores[rows[usable]] = network(batch).double().cpu().numpy()[usable]
    return scores


def _select(
    state: TrainingState, select: ClipDataset | None, recipe: Recipe, epoch: int
) -> dict[str, float]:
    """Measure the selection rows, and store the weights if they are the best so far."""
    if select is None:
        return {}
    current = trainable(state.network)
    if state.average:
        load_trainable(state.network, state.average)
    scores = score(state.network, select)
    metrics = {"accuracy": one_minus_mae, "r2": r2, "pcc": pcc, "ccc": ccc}
    pairs = [*zip(scores.T, select.targets.T, strict=True)]
    figures = {
        f"select_{name}": float(nan_mean([_known(metric, *pair) for pair in pairs]))
        for name, metric in metrics.items()
    }
    if recipe.run.select_metric != "last":
        metric = figures[f"select_{recipe.run.select_metric}"]
        best = state.progress.best
        # A correlation of constant scores is NaN, which is never the best.
        if np.isfinite(metric) and (best is None or metric > best):
            state.progress.best, state.progress.best_epoch = metric, epoch
            state.best_weights = trainable(state.network)
    load_trainable(state.network, current)
    return figures


def _known(
    metric: Callable[..., float], scores: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> float:
    """Compute a metric where both score and label are known; NaN where none are."""
    known = np.isfinite(scores) & np.isfinite(targets)
    return metric(scores[known], targets[known]) if known.any() else np.nan


def _stalled(state: TrainingState, recipe: Recipe, epoch: int) -> bool:
    patience = recipe.optim.patience
    return (
        patience is not None
        and state.progress.best is not None
        and epoch - state.progress.best_epoch >= patience
    )
