"""Fit the teacher, and its soft targets for training clips and for mixtures of them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from mmperson.config import TeacherConfig
from mmperson.datasets.dataset import ClipDataset
from mmperson.models.checkpoint import write_tensors
from mmperson.models.layers.kernel_memory import KernelMemory
from mmperson.models.layers.pooling import describe_text
from mmperson.models.network import PersonalityNetwork
from mmperson.models.tokens import Tokens
from mmperson.schema import MODALITIES
from mmperson.training.distillation.gaussian_process import fit_kernel

_NEIGHBOURS = 16  # A clip's audio is mixed with that of one of its nearest neighbours.
_MAX_SHARE = 0.7  # Of the neighbour in the mixture.


def presence_code(present: Tensor) -> Tensor:
    """Encode subsets of modalities: the sum of 1 for video, 2 for audio, 4 for text.

    Args:
        present: float (row, 3), 1 where video, audio, text is present.

    Returns:
        int64 (row,), 0 to 7.
    """
    return present.long() @ torch.tensor([1, 2, 4], device=present.device)


@dataclass(frozen=True)
class Teacher:
    """A Gaussian process per subset of modalities, with the features of the training rows.

    Attributes:
        memories: The fitted processes by presence code.
        features: float (row, feature) of ``audio`` and ``text``, for the recipe's modalities.
        mean: float (trait,), mean of the training targets.
        scale: float (trait,), their standard deviation.
    """

    memories: dict[int, KernelMemory]
    features: dict[str, Tensor]
    mean: Tensor
    scale: Tensor

    def score(self, features: dict[str, Tensor], present: Tensor) -> npt.NDArray[np.float32]:
        """Score rows with every subset of their modalities.

        Args:
            features: float (row, feature) by modality.
            present: float (row, 3).

        Returns:
            float32 (row, 8, trait) by presence code; NaN where a row lacks a modality.
        """
        scores = torch.full((len(present), 8, len(self.mean)), math.nan)
        codes = presence_code(present)
        for code, memory in self.memories.items():
            has_all = (codes & code) == code
            rows = _concatenate(features, code)[has_all]
            scores[has_all, code] = self.mean + self.scale * memory(rows)
        return scores.numpy()


def fit_teacher(
    network: PersonalityNetwork, rows: ClipDataset, config: TeacherConfig, seed: int, run: Path
) -> Teacher:
    """Fit a process per subset of modalities; fill the network's memories with the unimodal ones.

    Args:
        network: Standardises the descriptors; its memories are filled.
        rows: Training rows, with cached features of the pretrained text encoder.
        config: The teacher's settings.
        seed: Seed of the draws.
        run: Run folder; processes that it already contains are loaded.

    Returns:
        The teacher, with the features of the rows.
    """
    features = _features(network, rows)
    targets = torch.from_numpy(rows.targets)
    mean, scale = targets.mean(dim=0), targets.std(dim=0)
    present = torch.from_numpy(rows.present)
    memories = {}
    for code in _codes(features):
        has_all = (presence_code(present) & code) == code
        path = run / f"teacher_{code}.safetensors"
        joined = _concatenate(features, code)
        if not path.is_file():
            part = joined[has_all]
            standard = ((targets - mean) / scale)[has_all]
            sources = rows.source_id[has_all.numpy()]
            kernel = fit_kernel(_parts(features, code), part, standard, sources, config, seed)
            write_tensors(path, kernel.remember(part, standard).state_dict(), {})
        memories[code] = KernelMemory(joined.shape[1], len(mean))
        memories[code].load_state_dict(load_file(path))
    if "audio" in features:
        network.encoders["audio"].memory.load_state_dict(memories[2].state_dict())
    if "text" in features:
        network.fusion.summary["text"].memory.load_state_dict(memories[4].state_dict())
    return Teacher(memories, features, mean, scale)


def epoch_rows(
    teacher: Teacher, network: PersonalityNetwork, rows: ClipDataset, config: TeacherConfig,
    seed: int, epoch: int,
) -> tuple[ClipDataset, npt.NDArray[np.float32]]:  # fmt: skip
    """Change the audio of some rows, and score all rows with the teacher.

    Audio is mixed with that of a similar clip, or replaced by that of a random one, as a function
    of (seed, epoch).

    Returns:
        The rows, and the teacher's scores, float32 (row, 8, trait) by presence code.
    """
    present = torch.from_numpy(rows.present)
    if rows.spec.audio is None:
        return rows, teacher.score(teacher.features, present)
    random = np.random.default_rng([seed, epoch, 1])
    audio = teacher.features["audio"].numpy()
    audible = np.flatnonzero(rows.present[:, MODALITIES.index("audio")])
    draw = random.random(len(rows))[audible]
    mixed = audible[draw < config.mixed]
    swapped = audible[(draw >= config.mixed) & (draw < config.mixed + config.swapped)]
    changed = audio.copy()
    nearest = _neighbours(audio, audible, mixed)
    near = nearest[np.arange(len(mixed)), random.integers(nearest.shape[1], size=len(mixed))]
    share = _MAX_SHARE * random.random((len(mixed), 1), dtype=np.float32)
    changed[mixed] = (1 - share) * audio[mixed] + share * audio[near]
    changed[swapped] = audio[random.choice(audible, size=len(swapped))]
    touched = np.concatenate([mixed, swapped])
    noise = random.standard_normal((len(touched), audio.shape[1]), dtype=np.float32)
    changed[touched] += config.jitter * noise
    features = teacher.features | {"audio": torch.from_numpy(changed)}
    encoder = network.encoders["audio"]
    raw = features["audio"] * encoder.scale.cpu() + encoder.mean.cpu()
    return rows.with_audio(raw.numpy()), teacher.score(features, present)


def _neighbours(
    audio: npt.NDArray[np.float32], audible: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the nearest other rows with audio, int64 (row, neighbour)."""
    a, b = torch.from_numpy(audio[rows]), torch.from_numpy(audio[audible])
    nearest = torch.cdist(a, b).topk(min(_NEIGHBOURS + 1, len(audible)), largest=False).indices
    return audible[nearest[:, 1:].numpy()]


def _codes(features: dict[str, Tensor]) -> list[int]:
    """Presence codes of all non-empty subsets of the modalities."""
    bits = [1 << MODALITIES.index(name) for name in features]
    sizes = range(1, len(bits) + 1)
    return [sum(subset) for size in sizes for subset in itertools.combinations(bits, size)]


def _names(features: dict[str, Tensor], code: int) -> list[str]:
    return [name for name in features if code & (1 << MODALITIES.index(name))]


def _concatenate(features: dict[str, Tensor], code: int) -> Tensor:
    return torch.cat([features[name] for name in _names(features, code)], dim=1)


def _parts(features: dict[str, Tensor], code: int) -> dict[str, slice]:
    """Columns of descriptors, text components and transcript length in ``_concatenate``."""
    parts: dict[str, slice] = {}
    start = 0
    for name in _names(features, code):
        stop = start + features[name].shape[1]
        if name == "text":
            parts |= {"text": slice(start, stop - 1), "words": slice(stop - 1, stop)}
        else:
            parts[name] = slice(start, stop)
        start = stop
    return parts


def _features(network: PersonalityNetwork, rows: ClipDataset) -> dict[str, Tensor]:
    """Clip-level features of every row; those of an absent modality are undefined."""
    features: dict[str, Tensor] = {}
    if rows.spec.audio is not None:
        features["audio"] = network.encoders["audio"].standardise(rows.vectors("audio")[0])
    if "text" in rows.features:
        features["text"] = torch.cat([
            describe_text(Tokens(state.float().unsqueeze(0), torch.ones(1, len(state))))
            for state in rows.features["text"]
        ])  # fmt: skip
    return features
