"""One step of training: gradients of a batch, in parts if need be, and the new weights."""

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
"""Called with a sentence that the user should read."""


class TrainStep:
    """Takes the steps of a run.

    A step whose clips do not fit into the memory is taken again in twice as many parts, and so are
    all later ones. Its gradient stays the same, unless the loss compares clips with each other
    (``ccc``, ranking, spread): then it compares them within a part.

    Args:
        state: What is trained; changed by every step.
        recipe: Loss, rates and precision.
        context: The processes that share a step's clips.
        on_note: Told what the user should know.
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
        """Take one step.

        Args:
            train: What the rows are of.
            rows: int64 (batch,), the step's rows, over all processes.
            batch: Network inputs of this process's share of them.
            soft_targets: The teacher's scores of all rows, float32 (row, 8, trait) by presence.

        Returns:
            The loss.

        Raises:
            NonFiniteLoss: The loss is not a finite number; the message names its clips.
            TrainingError: A single clip does not fit into the memory.
        """
        state, optim = self.state, self.recipe.optim
        torch.manual_seed(self._seed(0))
        present = _modality_dropout(
            torch.from_numpy(train.present[rows]), self.recipe.fusion.modality_dropout
        )
        if self.context.rank:
            torch.manual_seed(self._seed(self.context.rank))
        mine = self.context.shard(rows)
        if len(mine):
            shown = present[self.context.rank :: self.context.size]
            batch = {**batch, "present": shown, **self._wanted(train, mine, shown, soft_targets)}
        known = int(np.isfinite(train.targets[rows]).sum())
        value = self._gradients(batch, len(mine), max(1, known))
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

    def _gradients(self, batch: Batch, mine: int, known: int) -> Tensor:
        """Compute the gradients, in more parts if the memory asks for it."""
        while True:
            self.state.optimizer.zero_grad(set_to_none=True)
            try:
                return self._accumulate(batch, mine, known)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self._halve(mine, error)

    def _halve(self, mine: int, error: RuntimeError) -> None:
        """Run the clips of a step in twice as many parts."""
        step = self.state.progress.step + 1
        if self.parts >= mine or self.context.size > 1:
            raise TrainingError(
                f"Out of memory at step {step} with {-(-mine // self.parts)} clips at a time.",
                hint="Lower optim.batch_size, video.frames or video.size.",
            ) from error
        self.parts *= 2
        self.on_note(
            f"Out of memory at step {step}: from now on the {mine} clips of a step run in "
            f"{self.parts} parts. Set optim.accumulate to {self.parts} to begin so."
            + (" The loss compares clips within a part." if self.recipe.loss.compares else "")
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _accumulate(self, batch: Batch, mine: int, known: int) -> Tensor:
        """Add up the gradients of a step's parts; return this process's share of its loss.

        A part counts by its share of the step's known labels, so that the sum is the mean.
        """
        network = self.state.network
        network.train()
        value = torch.zeros((), device=self.device)
        for part in _cut(batch, mine, self.parts):
            part = {name: tensor.to(self.device) for name, tensor in part.items()}
            with precision(self.recipe.optim.precision, self.device):
                scores, auxiliary_loss = network.forward_transformed(part)
            loss = self.loss(scores.float(), part["targets"], part.get("groups")) + auxiliary_loss
            loss = loss * (part["targets"].isfinite().sum() / known)
            loss.backward()
            value = value + loss.detach()
        return value

    def _wanted(
        self,
        train: ClipDataset,
        rows: npt.NDArray[np.int64],
        present: Tensor,
        soft_targets: npt.NDArray[np.float32] | None,
    ) -> Batch:
        """Return what the scores are held to: ``targets``, and ``groups`` where they are ranked."""
        targets = torch.from_numpy(train.targets[rows])
        if soft_targets is not None:
            taught = torch.from_numpy(soft_targets[rows, presence_code(present)])
            targets = targets.lerp(taught, self.recipe.loss.soft_weight)
        wanted = {"targets": self.state.network.labels(targets.to(self.device))}
        if train.groups is not None:
            wanted["groups"] = torch.from_numpy(train.groups[rows])
        return wanted

    def _seed(self, rank: int) -> int:
        sequence = np.random.SeedSequence([self.recipe.seed, self.state.progress.step, rank])
        return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def precision(name: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return the context in which a network runs: ``fp32``, or ``bf16`` autocast."""
    if name == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _cut(batch: Batch, rows: int, parts: int) -> list[Batch]:
    """Cut a batch into parts of nearly equal size, without empty ones."""
    parts = min(parts, rows)
    pieces = {name: tensor.tensor_split(parts) for name, tensor in batch.items() if parts}
    return [{name: cut[part] for name, cut in pieces.items()} for part in range(parts)]


def out_of_memory(error: Exception) -> bool:
    """Return whether torch or Python could not have the memory that they asked for."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    told = ("can't allocate memory", "can't start new thread")
    return isinstance(error, kinds) or any(words in str(error) for words in told)


def _modality_dropout(present: Tensor, chance: float) -> Tensor:
    """Hide each modality with some chance, but never the last one of a clip."""
    kept = present * (torch.rand(present.shape) >= chance).to(present)
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)


def _update_average(state: TrainingState, decay: float) -> None:
    if not state.average:
        state.average = trainable(state.network)
        return
    # Early on the average follows the weights closely instead of remembering their random start.
    step = state.progress.step + 1
    share = 1.0 - min(decay, step / (step + 10.0))
    for name, average in state.average.items():
        average.lerp_(state.changing[name].detach(), share)
