"""The state of a training run, from which it resumes with identical bits.

Row order, modality dropout and dropout are functions of (seed, step), so the state is the weights,
the optimiser's moments, the moving average and a few counters, in one safetensors file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmperson.models.checkpoint import read_tensors, write_tensors
from mmperson.models.network import PersonalityNetwork

STATE_FILE = "state.safetensors"


@dataclass
class Progress:
    """Counters of a run.

    Attributes:
        step: Steps done.
        epoch_loss: Sum of the losses of this epoch's steps.
        best: Best selection metric so far; None before the first.
        best_epoch: Epoch of the best metric, from 0.
        waited: Epochs since the best one, or since the rate was lowered.
        lowered: How often the rate was lowered on a plateau.
        done: Whether the run is complete.
    """

    step: int = 0
    epoch_loss: float = 0.0
    best: float | None = None
    best_epoch: int = -1
    waited: int = 0
    lowered: int = 0
    done: bool = False


@dataclass
class TrainingState:
    """A network in training with everything that a step changes.

    Attributes:
        network: The network.
        optimizer: Its optimiser.
        average: Moving average of the trainable parameters; empty if the recipe has none.
        best_weights: Trainable parameters of the best epoch; empty before the first selection.
        progress: Counters.
    """

    network: PersonalityNetwork
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)

    @cached_property
    def changing(self) -> dict[str, Tensor]:
        """What training changes, by name; cached, because steps can be short."""
        return _changing(self.network)

    def save(self, run: Path) -> None:
        """Write the state to the run folder atomically."""
        tensors = {
            **_prefixed("network", trainable(self.network)),
            **_prefixed("average", self.average),
            **_prefixed("best", self.best_weights),
        }
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= _prefixed(f"optimizer.{index}", moments)
        facts = {"progress": json.dumps(asdict(self.progress))}
        write_tensors(run / STATE_FILE, tensors, facts)

    def restore(self, run: Path) -> bool:
        """Load the run folder's state; return whether there was one."""
        if not (run / STATE_FILE).is_file():
            return False
        tensors, facts = read_tensors(run / STATE_FILE)
        self.progress = Progress(**json.loads(facts["progress"]))
        load_trainable(self.network, _section(tensors, "network"))
        self.average = _section(tensors, "average")
        self.best_weights = _section(tensors, "best")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _section(tensors, "optimizer").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        return True


def trainable(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return copies of what training changes, by name: parameters and running statistics."""
    return {name: tensor.detach().clone() for name, tensor in _changing(network).items()}


def load_trainable(network: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Load what ``trainable`` returned."""
    changing = _changing(network)
    with torch.no_grad():
        for name, tensor in weights.items():
            changing[name].copy_(tensor)


def _changing(network: torch.nn.Module) -> dict[str, Tensor]:
    """Trained parameters, and the running statistics of their batch normalisation."""
    changing: dict[str, Tensor] = {}
    for prefix, module in network.named_modules():
        own = {n: p for n, p in module.named_parameters(prefix, recurse=False) if p.requires_grad}
        changing |= own
        if own and isinstance(module, _BatchNorm):
            buffers = module.named_buffers(prefix, recurse=False)
            changing |= {name: buffer for name, buffer in buffers if buffer.is_floating_point()}
    return changing


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
