"""One training step: the gradients of a batch, accumulated over parts, and the update."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmperson.config import Recipe
from mmperson.datasets.dataset import Batch, ClipDataset
from mmperson.errors import NonFiniteLoss, TrainingError
from mmperson.training.distillation.teacher import presence_code
from mmperson.training.distributed import DistributedContext
from mmperson.training.losses import build_loss
from mmperson.training.state import TrainingState, trainable

OnNote = Callable[[str], None]
"""Called with notes for the user."""


class TrainStep:
    """Runs the steps of a training.

    A step that runs out of memory is repeated in twice as many parts, as are all later steps. The
    gradient stays the same, unless the loss compares clips with each other (``ccc``, ranking,
    spread): then it compares them within a part.

    Args:
        state: The training state; changed by every step.
        recipe: Loss, rates and precision.
        context: The processes that share a step's clips.
        on_note: Called with notes for the user.
    """

    def __init__(
        self, state: TrainingState, recipe: Recipe, context: DistributedContext, on_note: OnNote
    ) -> None:
        self.state, self.recipe, self.context, self.on_note = state, recipe, context, on_note
        self.loss = build_loss(recipe.loss)
        self.parts = recipe.optim.accumulate
        self.device = next(state.network.parameters()).device

    def run(
        self,
        train: ClipDataset,
        rows: npt.NDArray[np.int64],
        batch: Batch,
        soft_targets: npt.NDArray[np.float32] | None,
    ) -> float:
        """Run one step.

        Args:
            train: Training rows.
            rows: int64 (batch,), the step's rows, over all processes.
            batch: Network inputs of this process's shard.
            soft_targets: The teacher's scores of all rows, float32 (row, 8, trait) by presence.

        Returns:
            The loss.

        Raises:
            NonFiniteLoss: The loss is not finite; the message names the step's clips.
            TrainingError: A single clip does not fit into memory.
        """
        state, optim = self.state, self.recipe.optim
        torch.manual_seed(self._seed(0))
        present = _modality_dropout(
            torch.from_numpy(train.present[rows]), self.recipe.fusion.modality_dropout
        )
        if self.context.rank:
            torch.manual_seed(self._seed(self.context.rank))
        shard = self.context.shard(rows)
        if len(shard):
            present = present[self.context.rank :: self.context.size]
            targets = self._targets(train, shard, present, soft_targets)
            batch = {**batch, "present": present, **targets}
        known = int(np.isfinite(train.targets[rows]).sum())
        value = self._gradients(batch, len(shard), max(1, known))
        self.context.sum_gradients(state.network)
        total = self.context.total(value)
        if not torch.isfinite(total):
            raise NonFiniteLoss(
                f"The loss of step {state.progress.step + 1} is {total.item()}; its clips are "
                f"{', '.join(train.sample_id[rows])}.",
                hint="Lower optim.lr, check these rows with 'data check', or use precision fp32.",
            )
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), optim.clip_norm)
        state.optimizer.step()
        if optim.ema_decay is not None:
            _update_average(state, optim.ema_decay)
        return total.item()

    def _gradients(self, batch: Batch, clips: int, known: int) -> Tensor:
        """Compute the gradients, doubling the number of parts when memory runs out."""
        while True:
            self.state.optimizer.zero_grad(set_to_none=True)
            try:
                return self._accumulate(batch, clips, known)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self._double_parts(clips, error)

    def _double_parts(self, clips: int, error: RuntimeError) -> None:
        step = self.state.progress.step + 1
        if self.parts >= clips or self.context.size > 1:
            raise TrainingError(
                f"Out of memory at step {step} with {-(-clips // self.parts)} clips at a time.",
                hint="Lower optim.batch_size, video.frames or video.size.",
            ) from error
        self.parts *= 2
        self.on_note(
            f"Out of memory at step {step}: from now on the {clips} clips of a step run in "
            f"{self.parts} parts. To start with them, set optim.accumulate to {self.parts}."
            + (" The loss compares clips within a part." if self.recipe.loss.compares else "")
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _accumulate(self, batch: Batch, clips: int, known: int) -> Tensor:
        """Accumulate the gradients of a step's parts; return this process's share of the loss."""
        network = self.state.network
        network.train()
        value = torch.zeros((), device=self.device)
        for part in _cut(batch, clips, self.parts):
            part = {name: tensor.to(self.device) for name, tensor in part.items()}
            with _autocast(self.recipe.optim.precision, self.device):
                scores, auxiliary_loss = network.forward_transformed(part)
            loss = self.loss(scores.float(), part["targets"], part.get("groups")) + auxiliary_loss
            # Weighted by known labels, so that the sum over parts is the mean over the step.
            loss = loss * (part["targets"].isfinite().sum() / known)
            loss.backward()
            value = value + loss.detach()
        return value

    def _targets(
        self,
        train: ClipDataset,
        rows: npt.NDArray[np.int64],
        present: Tensor,
        soft_targets: npt.NDArray[np.float32] | None,
    ) -> Batch:
        """Return the transformed ``targets``, and the ``groups`` of the ranking loss."""
        targets = torch.from_numpy(train.targets[rows])
        if soft_targets is not None:
            soft = torch.from_numpy(soft_targets[rows, presence_code(present)])
            targets = targets.lerp(soft, self.recipe.loss.soft_weight)
        batch = {"targets": self.state.network.labels(targets.to(self.device))}
        if train.groups is not None:
            batch["groups"] = torch.from_numpy(train.groups[rows])
        return batch

    def _seed(self, rank: int) -> int:
        sequence = np.random.SeedSequence([self.recipe.seed, self.state.progress.step, rank])
        return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def _autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _cut(batch: Batch, rows: int, parts: int) -> list[Batch]:
    """Split a batch into non-empty parts of nearly equal size."""
    parts = min(parts, rows)
    pieces = {name: tensor.tensor_split(parts) for name, tensor in batch.items() if parts}
    return [{name: cut[part] for name, cut in pieces.items()} for part in range(parts)]


def out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch or Python means out of memory."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    messages = ("can't allocate memory", "can't start new thread")
    return isinstance(error, kinds) or any(message in str(error) for message in messages)


def _modality_dropout(present: Tensor, rate: float) -> Tensor:
    """Drop each modality at random, but never the last one of a clip."""
    kept = present * (torch.rand(present.shape) >= rate).to(present)
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)


def _update_average(state: TrainingState, decay: float) -> None:
    if not state.average:
        state.average = trainable(state.network)
        return
    # Early averages forget the random initialisation faster.
    step = state.progress.step + 1
    share = 1.0 - min(decay, step / (step + 10.0))
    for name, average in state.average.items():
        average.lerp_(state.changing[name].detach(), share)
