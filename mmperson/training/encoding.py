"""What frozen encoders say of the rows of a corpus: computed once, kept on the disk.

A file's name is a hash of the encoder's weights and of what it reads. So a file never belongs to
something else, and rows find theirs in whatever split or fold they are.
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
_SAMPLED_ROWS = 2000  # Clips that choose, for example, the principal components of the text.


def encode_rows(
    network: PersonalityNetwork, rows: ClipDataset, name: str, folder: Path
) -> ClipDataset:
    """Add the features of a frozen encoder to the rows; taken from files where there are some.

    Args:
        network: Its encoder of this modality is run, in evaluation mode.
        rows: The rows.
        name: The modality.
        folder: Where the files lie; made if absent.

    Raises:
        UsageError: They cannot be written.
    """
    folder = folder / f"{name}_{_digest(network.encoders[name])}"
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)
    paths = [folder / f"{digest}.npy" for digest in rows.digests(name)]
    for batch in rows.by_length(_BATCH):
        kept_before = [read_header(paths[row]) is not None for row in batch]
        if all(kept_before):
            continue
        # Whole, even if some are there: in another batch, the last bits would be others.
        encoded = rows.select(batch).with_features(name, partial(network.features, name))
        for row, is_kept, states in zip(batch, kept_before, encoded.features[name], strict=True):
            if not is_kept:
                save_array(paths[row], states.numpy())
    kept = tuple(torch.from_numpy(np.load(path, allow_pickle=False)) for path in paths)
    return rows.with_kept_features(name, kept)


def fit_encoder(network: PersonalityNetwork, name: str, rows: ClipDataset, folder: Path) -> None:
    """Fit what an encoder takes from training rows and not from gradients.

    Args:
        network: Its encoder of this modality is changed.
        name: The modality.
        rows: Training rows; costly buffers are fitted to a sample of them.
        folder: Where costly buffers are kept; made if absent.
    """
    encoder = network.encoders[name].eval()
    if not encoder.fitted:
        with torch.no_grad():
            encoder.fit(starmap(InputBatch, rows.inputs_of(name)))
        return
    rows = rows.select(np.random.default_rng(0).permutation(len(rows))[:_SAMPLED_ROWS])
    read = hashlib.sha256("".join(rows.digests(name)).encode()).hexdigest()[:16]
    path = folder / f"fitted_{_digest(encoder)}_{read}.safetensors"
    state = encoder.state_dict()
    if not path.is_file():
        with torch.inference_mode():
            encoder.fit(starmap(InputBatch, rows.inputs_of(name)))
        write_tensors(path, {key: state[key] for key in encoder.fitted}, {})
    tensors, _ = read_tensors(path)
    for key in encoder.fitted:
        state[key].copy_(tensors[key])


def _digest(encoder: nn.Module) -> str:
    """Hash what an encoder's features depend on, which is not what is trained; 16 hex digits."""
    read = [getattr(encoder, name, None) for name in ("stride", "layers")]
    digest = hashlib.sha256(str(read).encode())
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    for key, tensor in sorted(encoder.state_dict().items()):
        if key in trained:
            continue
        digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
