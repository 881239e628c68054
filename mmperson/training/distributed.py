"""Data-parallel training in several processes.

    torchrun --nproc-per-node 2 --no-python mmperson train configs/… --out RUN

Each process computes the gradient of its shard of a step's clips; the gradients are weighted and
summed. A step is the same for any number of processes, except for dropout, batch normalisation, and
losses that compare clips, which see one shard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class DistributedContext:
    """The processes that train one network.

    Attributes:
        rank: Index of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def shard(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return this process's shard of a step's rows."""
        return rows[self.rank :: self.size]

    def sum_gradients(self, network: nn.Module) -> None:
        """Sum the gradients of all processes; a missing gradient counts as zero."""
        if self.size == 1:
            return
        trained = [p for p in network.parameters() if p.requires_grad]
        grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in trained]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        for parameter, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            parameter.grad = part.reshape(parameter.shape).clone()

    def total(self, value: Tensor) -> Tensor:
        """Sum a scalar over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run a block in the main process first, then in the others, which read its files."""
        if self.size > 1 and not self.is_main_process:
            dist.barrier()
        yield
        if self.size > 1 and self.is_main_process:
            dist.barrier()


@contextmanager
def distributed_context(device: str) -> Iterator[DistributedContext]:
    """Join the processes that ``torchrun`` started; without it, a context of one process.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield DistributedContext()
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield DistributedContext(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
