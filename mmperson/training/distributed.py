"""Training in several processes: everyone takes a share of each step's clips.

    torchrun --nproc-per-node 2 --no-python mmperson train configs/… --out RUN

The clips of a step are dealt to the processes, each computes the gradient of its share, and the
gradients are summed with the weight of the share. So a step is the same at any number of processes,
apart from dropout, batch normalisation, and losses that compare clips, which see a share alone.
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
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def shard(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return this process's share of the rows of a step."""
        return rows[self.rank :: self.size]

    def sum_gradients(self, network: nn.Module) -> None:
        """Add up the gradients of all processes; what has none counts as zero."""
        if self.size == 1:
            return
        learned = [p for p in network.parameters() if p.requires_grad]
        grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in learned]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        for parameter, part in zip(learned, flat.split([p.numel() for p in learned]), strict=True):
            parameter.grad = part.reshape(parameter.shape).clone()

    def total(self, value: Tensor) -> Tensor:
        """Sum a scalar over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Let the first process through, then the others, who find what it has written."""
        if self.size > 1 and not self.is_main_process:
            dist.barrier()
        yield
        if self.size > 1 and self.is_main_process:
            dist.barrier()


@contextmanager
def distributed_context(device: str) -> Iterator[DistributedContext]:
    """Join the processes that ``torchrun`` started; without it, work alone.

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
