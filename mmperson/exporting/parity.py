"""Parity of graphs and network, for every subset of modalities."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from mmperson.datasets.dataset import ClipDataset
from mmperson.errors import ParityExceeded, ShapeMismatch
from mmperson.inference.session import GraphValue, Session
from mmperson.models.network import PersonalityNetwork
from mmperson.schema import MODALITIES

TOLERANCE = 1e-4
"""Maximum absolute difference of a score between the network and its fp32 graphs."""


def score_difference(
    network: PersonalityNetwork,
    sessions: Mapping[str, Session],
    rows: ClipDataset,
    *,
    together: int,
) -> float:
    """Return the largest difference of a score, over rows and subsets of modalities.

    Args:
        network: The network in evaluation mode.
        sessions: Its graphs by name: ``encoder_<modality>`` and ``fusion``.
        rows: Real rows.
        together: Rows per batch.

    Raises:
        ShapeMismatch: A graph returns another shape than the network.
    """
    largest = 0.0
    for chosen in rows.by_length(together):
        batch = rows.batch(chosen)
        arrays = {key: tensor.numpy() for key, tensor in batch.items()}
        inputs: dict[str, GraphValue] = dict(arrays)
        for name in network.encoders:
            inputs |= sessions[f"encoder_{name}"].run(arrays)
        with torch.inference_mode():
            tokens = network.encode(batch)
        for present in _subsets(network, len(chosen)):
            with torch.inference_mode():
                expected = network.fuse(tokens, torch.from_numpy(present)).numpy()
            scores = sessions["fusion"].run({**inputs, "present": present})["scores"].numpy()
            if scores.shape != expected.shape:
                raise ShapeMismatch(
                    f"The graphs return scores of shape {scores.shape}; the network returns "
                    f"{expected.shape}."
                )
            difference = float(np.abs(scores - expected).max())
            largest = float(np.maximum(largest, difference))  # unlike max, it keeps NaN
    return largest


def check_parity(
    network: PersonalityNetwork, sessions: Mapping[str, Session], rows: ClipDataset
) -> float:
    """Compare the fp32 graphs with the network, in batches and one by one.

    Returns:
        The largest difference of a score.

    Raises:
        ParityExceeded: A score differs by more than ``TOLERANCE``.
    """
    differences = [score_difference(network, sessions, rows, together=n) for n in (8, 1)]
    largest = float(np.max(differences))
    # Written so that NaN fails too.
    if not largest <= TOLERANCE:
        raise ParityExceeded("A score", largest, TOLERANCE)
    return largest


def _subsets(network: PersonalityNetwork, rows: int) -> Iterator[npt.NDArray[np.float32]]:
    """Presence masks of every non-empty subset of the network's modalities, float32 (row, 3)."""
    names = list(network.encoders)
    for flags in itertools.product((1.0, 0.0), repeat=len(names)):
        if any(flags):
            present = dict(zip(names, flags, strict=True))
            mask = [present.get(name, 0.0) for name in MODALITIES]
            yield np.tile(np.array(mask, dtype=np.float32), (rows, 1))
