"""What the teacher says about each training clip, for every subset of its modalities."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmperson.config import TeacherConfig
from mmperson.data.dataset import ClipDataset
from mmperson.models.network import PersonalityNetwork
from mmperson.schema import MODALITIES
from mmperson.training.teacher import Features, fit_kernel, unseen_scores


def presence_code(present: Tensor) -> Tensor:
    """Number the subsets of modalities: 1 for video, 2 for audio, 4 for text, summed.

    Args:
        present: float (row, 3), 1 where video, audio, text is present.

    Returns:
        int64 (row,), 0 to 7.
    """
    return present.long() @ torch.tensor([1, 2, 4], device=present.device)


def soft_targets(
    network: PersonalityNetwork,
    rows: ClipDataset,
    config: TeacherConfig,
    seed: int,
) -> npt.NDArray[np.float32]:
    """Let a teacher per subset of modalities score clips of source videos new to it.

    Args:
        network: Gives the features: its pretrained token states and its standardised descriptors.
        rows: Training rows.
        config: The teacher.
        seed: Seed of its draws.

    Returns:
        float32 (row, 8, trait) by presence code; NaN where a row lacks a modality of the subset.
    """
    features = _features(network, rows)
    targets = torch.from_numpy(rows.targets)
    mean, scale = targets.mean(dim=0), targets.std(dim=0)
    soft = np.full((len(rows), 8, targets.shape[1]), np.nan, dtype=np.float32)
    for subset in _subsets(network):
        shown = np.array([float(name in subset) for name in MODALITIES], dtype=np.float32)
        whole = np.flatnonzero((rows.present >= shown).all(axis=1))
        part = _select(features, subset, whole)
        wanted = ((targets - mean) / scale)[whole]
        sources = rows.source_id[whole]
        kernel = fit_kernel(part, wanted, sources, config, seed)
        scores = unseen_scores(kernel, part, wanted, sources)
        soft[whole, int(presence_code(torch.from_numpy(shown)))] = (scores * scale + mean).numpy()
    return soft


def _subsets(network: PersonalityNetwork) -> list[tuple[str, ...]]:
    names = list(network.encoders)
    return [
        subset
        for size in range(1, len(names) + 1)
        for subset in itertools.combinations(names, size)
    ]


def _select(features: Features, subset: tuple[str, ...], rows: npt.NDArray[np.int64]) -> Features:
    names = [*subset, "words"] if "text" in subset else subset
    return {name: features[name][rows] for name in names}


def _features(network: PersonalityNetwork, rows: ClipDataset) -> Features:
    """Standardised clip-level features of every row; those of an absent modality mean nothing."""
    found: dict[str, Tensor] = {}
    if "audio" in network.encoders:
        found["audio"] = network.encoders["audio"].standardise(torch.from_numpy(rows.descriptors))
    if "text" in network.encoders:
        pooled = _mean_pooled(network, rows)
        found["text"] = _standard(pooled) / pooled.shape[1] ** 0.5
        found["words"] = _standard(torch.from_numpy(np.log1p(rows.lengths())[:, None]).float())
    return found


def _mean_pooled(network: PersonalityNetwork, rows: ClipDataset) -> Tensor:
    encoder = network.encoders["text"].eval()
    pooled = torch.zeros(len(rows), encoder.dim)
    with torch.inference_mode():
        for chosen in rows.by_length(64):
            batch = rows.batch(chosen)
            values, mask = encoder(batch["input_ids"], batch["attention_mask"])
            weights = mask.unsqueeze(-1) / mask.sum(dim=1)[:, None, None]
            pooled[chosen] = (values * weights).sum(dim=1)
    return pooled


def _standard(values: Tensor) -> Tensor:
    # Some dimensions of an embedding layer hardly vary; they must not be blown up.
    return (values - values.mean(dim=0)) / values.std(dim=0).clamp_min(1e-3)
