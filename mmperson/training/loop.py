"""The training loop: one readable function, resumable at any step to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmperson.config import Recipe
from mmperson.datasets.dataset import Batch, ClipDataset
from mmperson.evaluation.arrays import mean_known
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
    """Train from where ``state`` stands to the end and return the chosen weights.

    The weights of the epoch with the best selection metric win; without selection rows, the last
    ones. With a moving average it is the average that is selected on and returned.

    Args:
        state: A fresh or restored state; changed in place and saved to ``run``.
        train: Rows to learn from.
        select: Rows to choose the epoch by, or None.
        teach: Gives the rows of an epoch and the teacher's scores for them; None learns from the
            labels alone.
        recipe: Sizes, rates and lengths.
        run: Run folder.
        context: The processes that train together.
        on_epoch: Told about every epoch.
        on_note: Told what the user should know.

    Returns:
        Trainable parameters by name.

    Raises:
        NonFiniteLoss: A loss is not a finite number; the message names the step and its clips.
        TrainingError: A single clip does not fit into the memory.
    """
    optim, progress = recipe.optim, state.progress
    steps, train_step = (
        StepDataset(train, recipe, context),
        TrainStep(state, recipe, context, on_note),
    )
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
            if progress.step % steps.per_epoch == 0:
                figures = {"loss": progress.epoch_loss / steps.per_epoch}
                figures |= _select(state, select, recipe, epoch)
                if optim.schedule == "plateau":
                    wait_for_better(progress, epoch)
                progress.epoch_loss = 0.0
                tracker.log(progress.step, epoch=epoch + 1, **figures)
                on_epoch(epoch + 1, optim.epochs, figures)
                progress.done = epoch + 1 == optim.epochs or _stalled(state, recipe, epoch)
                _save(state, run, context)
            elif progress.step % recipe.run.checkpoint_steps == 0:
                _save(state, run, context)
    return state.best_weights or state.average or trainable(state.network)


def score(
    network: PersonalityNetwork,
    dataset: ClipDataset,
    modalities: tuple[str, ...] = MODALITIES,
    batch_size: int = 64,
) -> npt.NDArray[np.float64]:
    """Score every row with the given modalities; the others count as absent.

    Returns:
        float64 (row, trait), about [0, 1]; a row with nothing present is NaN.
    """
    allowed = torch.tensor([float(name in modalities) for name in MODALITIES])
    scores = np.full(dataset.targets.shape, np.nan)
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        for rows in dataset.by_length(batch_size):
            batch = _to(dataset.batch(rows), device)
            batch["present"] = batch["present"] * allowed.to(device)
            usable = batch["present"].any(dim=1).cpu().numpy()
            scores[rows[usable]] = network(batch).double().cpu().numpy()[usable]
    return scores


def _save(state: TrainingState, run: Path, context: DistributedContext) -> None:
    if context.is_main_process:
        state.save(run)


def _select(
    state: TrainingState, select: ClipDataset | None, recipe: Recipe, epoch: int
) -> dict[str, float]:
    if select is None:
        return {}
    current = trainable(state.network)
    if state.average:
        load_trainable(state.network, state.average)
    scores = score(state.network, select)
    metrics = {"accuracy": one_minus_mae, "r2": r2, "pcc": pcc, "ccc": ccc}
    figures = {
        f"select_{name}": float(
            mean_known(
                [_known(metric, *pair) for pair in zip(scores.T, select.targets.T, strict=True)]
            )
        )
        for name, metric in metrics.items()
    }
    if recipe.run.select_metric == "last":
        load_trainable(state.network, current)
        return figures
    metric = figures[f"select_{recipe.run.select_metric}"]
    best = state.progress.best
    # A correlation of constant scores is no number: it neither wins nor stays.
    if np.isfinite(metric) and (best is None or metric > best):
        state.progress.best, state.progress.best_epoch = metric, epoch
        state.best_weights = trainable(state.network)
    load_trainable(state.network, current)
    return figures


def _known(
    metric: Callable[..., float], scores: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> float:
    """Measure where both the score and the label are known; NaN where none are."""
    known = np.isfinite(scores) & np.isfinite(targets)
    return metric(scores[known], targets[known]) if known.any() else np.nan


def _stalled(state: TrainingState, recipe: Recipe, epoch: int) -> bool:
    patience = recipe.optim.patience
    return (
        patience is not None
        and state.progress.best is not None
        and epoch - state.progress.best_epoch >= patience
    )


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device) for name, tensor in batch.items()}
