"""A split in memory, as batches of network inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmperson.data.cache import FeatureCache
from mmperson.data.manifest import Manifest
from mmperson.data.rows import prepare_row
from mmperson.inputs.spec import InputSpec

Batch = dict[str, Tensor]

_POOL = 16  # Batches whose rows are sorted by length together, so that little padding is computed.


@dataclass(frozen=True)
class ClipDataset:
    """Prepared rows.

    Attributes:
        sample_id: str (row,).
        source_id: str (row,), source video of each row.
        input_ids: int64 (token,) per row, empty where text is absent; None if text is not read.
        descriptors: float32 (row, descriptor), zeros where absent; None if audio is not read.
        present: float32 (row, 3), 1 where video, audio, text is present.
        targets: float32 (row, trait) on [0, 1].
        text_tokens: float16 (token, dim) per row, the output of a frozen text encoder; None if the
            encoder runs in training.
    """

    sample_id: npt.NDArray[np.str_]
    source_id: npt.NDArray[np.str_]
    input_ids: tuple[npt.NDArray[np.int64], ...] | None
    descriptors: npt.NDArray[np.float32] | None
    present: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    text_tokens: tuple[Tensor, ...] | None = None

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
            source_id=manifest.source_id,
            input_ids=input_ids,
            descriptors=descriptors,
            present=np.stack([r.present for r in rows]).astype(np.float32),
            targets=manifest.targets.astype(np.float32),
        )

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Collate rows: text padded to the longest of them, absent modalities as zeros.

        Returns:
            ``input_ids`` and ``attention_mask`` int64 (batch, token), ``descriptors`` float32
            (batch, descriptor), ``present`` float32 (batch, 3); without the modalities that are not
            read.
        """
        batch = {"present": torch.from_numpy(self.present[rows])}
        if self.descriptors is not None:
            batch["descriptors"] = torch.from_numpy(self.descriptors[rows])
        if self.text_tokens is not None:
            states = [self.text_tokens[row] for row in rows]
            batch["text_tokens"] = pad_sequence(states, batch_first=True).float()
            batch["text_mask"] = _mask([len(part) for part in states]).float()
        elif self.input_ids is not None:
            ids = [_whole(self.input_ids[row]) for row in rows]
            batch["input_ids"] = pad_sequence(ids, batch_first=True)
            batch["attention_mask"] = _mask([len(part) for part in ids])
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

    def select(self, rows: npt.NDArray[np.int64]) -> ClipDataset:
        """Return some rows, int64 (row,), in that order."""
        return replace(
            self,
            sample_id=self.sample_id[rows],
            source_id=self.source_id[rows],
            input_ids=self.input_ids and tuple(self.input_ids[row] for row in rows),
            descriptors=None if self.descriptors is None else self.descriptors[rows],
            present=self.present[rows],
            targets=self.targets[rows],
            text_tokens=self.text_tokens and tuple(self.text_tokens[row] for row in rows),
        )

    def with_descriptors(self, descriptors: npt.NDArray[np.float32]) -> ClipDataset:
        """Return the same rows with other descriptors, float32 (row, descriptor)."""
        return replace(self, descriptors=descriptors)

    def with_text_tokens(self, encode: Callable[[Batch], Tensor]) -> ClipDataset:
        """Run a frozen text encoder once over every row and keep what it says.

        Args:
            encode: Batch to token states, float (batch, token, dim).
        """
        kept: list[Tensor] = [torch.empty(0)] * len(self)
        for rows in self.by_length(64):
            batch = self.batch(rows)
            states = encode(batch).half().cpu()
            lengths = batch["attention_mask"].sum(dim=1).tolist()
            for row, state, length in zip(rows.tolist(), states, lengths, strict=True):
                kept[row] = state[:length].clone()
        return replace(self, text_tokens=tuple(kept))

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


def _whole(ids: npt.NDArray[np.int64]) -> Tensor:
    """An absent text is one padding token: a sequence of length zero fits no encoder."""
    return torch.from_numpy(ids) if len(ids) else torch.zeros(1, dtype=torch.int64)


def _mask(lengths: list[int]) -> Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
