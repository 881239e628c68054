"""The batches of all steps, prefetched by worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from mmperson.config import Recipe
from mmperson.datasets.dataset import Batch, ClipDataset
from mmperson.training.augment import augment
from mmperson.training.distributed import DistributedContext


class StepDataset(Dataset[Batch]):
    """The batch of every step of a training, a function of (seed, step).

    Args:
        rows: Training rows.
        recipe: Batch size, seed and augmentation.
        context: The processes that share a step's rows.
    """

    def __init__(self, rows: ClipDataset, recipe: Recipe, context: DistributedContext) -> None:
        self.rows, self.recipe, self.context = rows, recipe, context
        self.per_epoch = len(rows.epoch(recipe.optim.batch_size, recipe.seed, 0))
        self._epoch: tuple[int, list[npt.NDArray[np.int64]]] = (-1, [])

    def __len__(self) -> int:
        return self.per_epoch * self.recipe.optim.epochs

    def rows_of(self, step: int) -> npt.NDArray[np.int64]:
        """Return the row numbers of a step, over all processes."""
        epoch, within = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            batches = self.rows.epoch(self.recipe.optim.batch_size, self.recipe.seed, epoch)
            self._epoch = epoch, batches
        return self._epoch[1][within]

    def __getitem__(self, step: int) -> Batch:
        """Return the augmented batch of this process's shard of a step."""
        rows = self.context.shard(self.rows_of(step))
        if not len(rows):
            return {}
        batch = self.rows.batch(rows)
        if self.recipe.augment is None:
            return batch
        sequence = np.random.SeedSequence([self.recipe.seed, step, self.context.rank])
        random = torch.Generator().manual_seed(int(sequence.generate_state(1)[0]))
        return augment(batch, self.rows.spec, self.recipe.augment, random)

    def from_step(self, first: int) -> Iterator[Batch]:
        """Yield the batches of all steps from ``first`` on, prefetched by the recipe's workers."""
        workers = self.recipe.run.workers
        # Spawned, never forked: a fork would share FFmpeg's threads.
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, len(self)),
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        )
        return iter(loader)
