"""The training loop: one readable function, resumable at any step to the same bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmperson.config import Recipe
from mmperson.data.dataset import ClipDataset
from mmperson.errors import NonFiniteLoss
from mmperson.evaluation.metrics import accuracy, ccc, pcc, r2
from mmperson.models.network import Batch, PersonalityNetwork
from mmperson.schema import MODALITIES
from mmperson.training.distil import presence_code
from mmperson.training.losses import Loss, build_loss
from mmperson.training.optim import set_rate
from mmperson.training.state import TrainingState, load_trainable, trainable
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
    on_epoch: OnEpoch,
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
        on_epoch: Told about every epoch.

    Returns:
        Trainable parameters by name.

    Raises:
        NonFiniteLoss: A loss is not a finite number; the message names the step and its clips.
    """
    optim, progress, loss = recipe.optim, state.progress, build_loss(recipe.loss)
    per_epoch = len(train.epoch(optim.batch_size, recipe.seed, 0))
    steps = per_epoch * optim.epochs
    taught = -1
    soft = None
    with Tracker(run, progress.step) as tracker:
        while not progress.done:
            epoch, within = divmod(progress.step, per_epoch)
            if teach is not None and epoch != taught:
                (train, soft), taught = teach(epoch), epoch
            rows = train.epoch(optim.batch_size, recipe.seed, epoch)[within]
            rate = set_rate(state.optimizer, progress.step, steps, optim.warmup)
            value = _step(state, train, soft, rows, loss, recipe)
            progress.step += 1
            progress.epoch_loss += value
            tracker.log(progress.step, loss=value, rate=rate)
            if progress.step % per_epoch == 0:
                figures = {"loss": progress.epoch_loss / per_epoch}
                figures |= _select(state, select, recipe, epoch)
                progress.epoch_loss = 0.0
                tracker.log(progress.step, epoch=epoch + 1, **figures)
                on_epoch(epoch + 1, optim.epochs, figures)
                progress.done = epoch + 1 == optim.epochs or _stalled(state, recipe, epoch)
                state.save(run)
            elif progress.step % recipe.run.checkpoint_steps == 0:
                state.save(run)
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


def _step(
    state: TrainingState,
    train: ClipDataset,
    soft: npt.NDArray[np.float32] | None,
    rows: npt.NDArray[np.int64],
    loss: Loss,
    recipe: Recipe,
) -> float:
    network, optim = state.network, recipe.optim
    device = next(network.parameters()).device
    torch.manual_seed(_step_seed(recipe.seed, state.progress.step))
    network.train()
    batch = _to(train.batch(rows), device)
    batch["present"] = _hide(batch["present"], recipe.fusion.modality_dropout)
    targets = torch.from_numpy(train.targets[rows]).to(device)
    if soft is not None:
        taught = torch.from_numpy(soft[rows, presence_code(batch["present"]).cpu()]).to(device)
        targets = targets.lerp(taught, recipe.loss.soft_weight)
    with _precision(optim.precision, device):
        scores = network(batch)
    value = loss(scores.float(), targets)
    if not torch.isfinite(value):
        raise NonFiniteLoss(
            f"The loss of step {state.progress.step + 1} is {value.item()}; its clips are "
            f"{', '.join(train.sample_id[rows])}.",
            hint="Lower optim.lr, check these rows with 'data check', or use precision fp32.",
        )
    state.optimizer.zero_grad(set_to_none=True)
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), optim.clip_norm)
    state.optimizer.step()
    if optim.ema_decay is not None:
        _update_average(state, optim.ema_decay)
    return value.item()


def _hide(present: Tensor, chance: float) -> Tensor:
    """Hide each modality with some chance, but never the last one of a clip."""
    kept = present * (torch.rand(present.shape) >= chance).to(present)
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)


def _update_average(state: TrainingState, decay: float) -> None:
    now = trainable(state.network)
    if not state.average:
        state.average = now
        return
    # Early on the average follows the weights closely instead of remembering their random start.
    step = state.progress.step + 1
    share = 1.0 - min(decay, step / (step + 10.0))
    for name, average in state.average.items():
        average.lerp_(now[name], share)


def _select(
    state: TrainingState, select: ClipDataset | None, recipe: Recipe, epoch: int
) -> dict[str, float]:
    if select is None:
        return {}
    current = trainable(state.network)
    if state.average:
        load_trainable(state.network, state.average)
    scores = score(state.network, select)
    metrics = {"accuracy": accuracy, "r2": r2, "pcc": pcc, "ccc": ccc}
    figures = {
        f"select_{name}": float(
            np.mean([metric(*pair) for pair in zip(scores.T, select.targets.T, strict=True)])
        )
        for name, metric in metrics.items()
    }
    metric = figures[f"select_{recipe.run.select_metric}"]
    if state.progress.best is None or metric > state.progress.best:
        state.progress.best, state.progress.best_epoch = metric, epoch
        state.best_weights = trainable(state.network)
    load_trainable(state.network, current)
    return figures


def _stalled(state: TrainingState, recipe: Recipe, epoch: int) -> bool:
    patience = recipe.optim.patience
    return (
        patience is not None
        and state.progress.best is not None
        and epoch - state.progress.best_epoch >= patience
    )


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def _precision(precision: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device) for name, tensor in batch.items()}
