"""A cache of frozen encoders' features.

A file's name is a hash of the encoder's weights and of its input, so a row's features are shared by
all splits and folds.
"""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import starmap
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmperson.datasets.cache import read_header, save_array
from mmperson.datasets.dataset import ClipDataset
from mmperson.files import remove_stale, write_errors
from mmperson.models.checkpoint import read_tensors, write_tensors
from mmperson.models.encoders.encoder import InputBatch
from mmperson.models.network import PersonalityNetwork

_BATCH = 64
_SAMPLED_ROWS = 2000  # For example, to fit the principal components of the text.


def encode_rows(
    network: PersonalityNetwork, rows: ClipDataset, name: str, folder: Path
) -> ClipDataset:
    """Add the features of a frozen encoder to the rows, computing those that are not cached.

    Args:
        network: Contains the encoder.
        rows: The rows.
        name: The modality.
        folder: Cache folder; created if missing.

    Raises:
        UsageError: The cache cannot be written.
    """
    folder = folder / f"{name}_{_digest(network.encoders[name])}"
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)
    paths = [folder / f"{digest}.npy" for digest in rows.digests(name)]
    for batch in rows.by_length(_BATCH):
        cached = [read_header(paths[row]) is not None for row in batch]
        if all(cached):
            continue
        # The whole batch, even if some rows are cached: the last bits depend on the batch.
        encoded = rows.select(batch).with_features(name, partial(network.features, name))
        for row, is_cached, features in zip(batch, cached, encoded.features[name], strict=True):
            if not is_cached:
                save_array(paths[row], features.numpy())
    loaded = tuple(torch.from_numpy(np.load(path, allow_pickle=False)) for path in paths)
    return rows.with_stored_features(name, loaded)


def fit_encoder(network: PersonalityNetwork, name: str, rows: ClipDataset, folder: Path) -> None:
    """Fit an encoder's buffers to training rows.

    Args:
        network: Contains the encoder, which is changed.
        name: The modality.
        rows: Training rows; expensive buffers (``Encoder.fitted``) are fitted to a sample of them.
        folder: Cache folder of expensive buffers; created if missing.
    """
    encoder = network.encoders[name].eval()
    if not encoder.fitted:
        with torch.no_grad():
            encoder.fit(starmap(InputBatch, rows.inputs_of(name)))
        return
    rows = rows.select(np.random.default_rng(0).permutation(len(rows))[:_SAMPLED_ROWS])
    inputs = hashlib.sha256("".join(rows.digests(name)).encode()).hexdigest()[:16]
    path = folder / f"fitted_{_digest(encoder)}_{inputs}.safetensors"
    state = encoder.state_dict()
    if not path.is_file():
        with torch.inference_mode():
            encoder.fit(starmap(InputBatch, rows.inputs_of(name)))
        write_tensors(path, {key: state[key] for key in encoder.fitted}, {})
    tensors, _ = read_tensors(path)
    for key in encoder.fitted:
        state[key].copy_(tensors[key])


def _digest(encoder: nn.Module) -> str:
    """Hash an encoder's settings and untrained tensors; 16 hex digits."""
    settings = [getattr(encoder, name, None) for name in ("stride", "layers")]
    digest = hashlib.sha256(str(settings).encode())
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    for key, tensor in sorted(encoder.state_dict().items()):
        if key not in trained:
            digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
