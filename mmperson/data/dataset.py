"""A split in memory, as batches of network inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from mmperson.data.cache import FeatureCache
from mmperson.data.manifest import Manifest
from mmperson.data.rows import prepare_row
from mmperson.inputs.spec import InputSpec

_POOL = 16  # Batches whose rows are sorted by length together, so that little padding is computed.


@dataclass(frozen=True)
class ClipDataset:
    """Prepared rows.

    Attributes:
        sample_id: str (row,).
        input_ids: int64 (token,) per row, empty where text is absent; None if text is not read.
        descriptors: float32 (row, descriptor), zeros where absent; None if audio is not read.
        present: float32 (row, 3), 1 where video, audio, text is present.
        targets: float32 (row, trait) on [0, 1].
    """

    sample_id: npt.NDArray[np.str_]
    input_ids: tuple[npt.NDArray[np.int64], ...] | None
    descriptors: npt.NDArray[np.float32] | None
    present: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.sample_id)

    @classmethod
    def prepare(
        cls,
        manifest: Manifest,
        spec: InputSpec,
        tokenizer: Tokenizer | None,
        cache: FeatureCache | None = None,
    ) -> ClipDataset:
        """Prepare every row of a manifest by the same code that inference uses."""
        rows = [prepare_row(manifest, row, spec, tokenizer, cache) for row in range(len(manifest))]
        input_ids = descriptors = None
        if spec.text is not None:
            nothing = np.zeros(0, dtype=np.int64)
            input_ids = tuple(nothing if r.text is None else r.text for r in rows)
        if spec.audio is not None:
            silent = np.zeros(spec.audio.size, dtype=np.float32)
            descriptors = np.stack([silent if r.audio is None else r.audio for r in rows])
        return cls(
            sample_id=manifest.sample_id,
            input_ids=input_ids,
            descriptors=descriptors,
            present=np.stack([r.present for r in rows]).astype(np.float32),
            targets=manifest.targets.astype(np.float32),
        )

    def batch(self, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Collate rows: text padded to the longest of them, absent modalities as zeros.

        Returns:
            ``input_ids`` and ``attention_mask`` int64 (batch, token), ``descriptors`` float32 (batch,
            descriptor), ``present`` float32 (batch, 3); without the modalities that are not read.
        """
        batch = {"present": torch.from_numpy(self.present[rows])}
        if self.descriptors is not None:
            batch["descriptors"] = torch.from_numpy(self.descriptors[rows])
        if self.input_ids is not None:
            texts = [self.input_ids[row] for row in rows]
            # An absent text is one masked token: a sequence of length zero fits no encoder.
            longest = max(1, *(len(ids) for ids in texts))
            input_ids = torch.zeros(len(rows), longest, dtype=torch.int64)
            attention_mask = torch.zeros_like(input_ids)
            for row, ids in enumerate(texts):
                input_ids[row, : len(ids)] = torch.from_numpy(ids)
                attention_mask[row, : max(1, len(ids))] = 1
            batch |= {"input_ids": input_ids, "attention_mask": attention_mask}
        return batch

    def epoch(self, batch_size: int, seed: int, epoch: int) -> list[npt.NDArray[np.int64]]:
        """Return the row numbers of every batch of an epoch, a function of (seed, epoch).

        Rows are shuffled, sorted by text length within pools, cut into batches, and the batches are
        shuffled again.
        """
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(len(self))
        lengths = self.lengths()
        pool = _POOL * batch_size
        batches = []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        random.shuffle(batches)
        return batches

    def by_length(self, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
        """Yield every row number once, batch by batch, rows of similar text length together."""
        order = np.argsort(self.lengths(), kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the number of text tokens of every row, int64 (row,)."""
        if self.input_ids is None:
            return np.zeros(len(self), dtype=np.int64)
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)
