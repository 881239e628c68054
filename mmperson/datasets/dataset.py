"""Manifest rows as batches of network inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.manifest import Manifest
from mmperson.datasets.rows import PreparedRows, require_clips
from mmperson.errors import DataError
from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.collate import collate
from mmperson.preprocessing.spec import InputSpec
from mmperson.schema import MODALITIES
from mmperson.traits import TRAITS

Batch = dict[str, Tensor]

_POOL = 16  # Batches whose rows are sorted by length together, to reduce padding.
_TEXTS = 64  # Batch size of texts in ``inputs_of``.
_IN_MEMORY_BYTES = 64 * 1024  # Larger inputs of a clip stay on disk until a batch needs them.


@dataclass(frozen=True)
class ClipDataset:
    """Rows with inputs and targets.

    Attributes:
        sample_id: str (row,).
        source_id: str (row,), source video of each row.
        spec: The preprocessing.
        inputs: Network inputs of each row, in memory or prepared on access.
        present: float32 (row, 3), 1 where video, audio, text is present.
        lengths: int64 (row,), number of text tokens.
        targets: float32 (row, target), NaN where unknown.
        groups: int64 (row,), ranking group of each row, or None.
        features: By modality, output of its frozen encoder for each row, float16 (token, dim).
    """

    sample_id: npt.NDArray[np.str_]
    source_id: npt.NDArray[np.str_]
    spec: InputSpec
    inputs: Sequence[ClipInputs]
    present: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int64] | None
    features: dict[str, tuple[Tensor, ...]]

    def __len__(self) -> int:
        return len(self.sample_id)

    @classmethod
    def prepare(
        cls,
        manifest: Manifest,
        spec: InputSpec,
        tokenizer: Tokenizer | None,
        cache: FeatureCache | None = None,
        *,
        targets: Sequence[str] = TRAITS,
        groups: str | None = None,
    ) -> ClipDataset:
        """Prepare every row of a manifest with the code that inference uses.

        This decodes every clip once to find which modalities are present; with a cache, batches
        read large inputs from it again.

        Args:
            manifest: The rows.
            spec: The preprocessing.
            tokenizer: Tokenizer of ``spec.text``; None without text.
            cache: Cache of decoded clips.
            targets: The five traits, then extra columns of the manifest.
            groups: Extra column within which rows are ranked.

        Raises:
            DataError: A column or a clip is missing.
        """
        require_clips(manifest, spec)
        lazy = PreparedRows(manifest, spec, tokenizer, cache)
        sizes = [part.nbytes for part in spec.parts.values() if part.source != "transcript"]
        small = cache is None or sum(sizes) <= _IN_MEMORY_BYTES
        in_memory: list[ClipInputs] = []
        present = np.zeros((len(manifest), 3), dtype=np.float32)
        lengths = np.zeros(len(manifest), dtype=np.int64)
        for row, inputs in enumerate(lazy):
            present[row] = inputs.present
            lengths[row] = 0 if inputs.text is None else inputs.text.shape[-1]
            if small:
                in_memory.append(inputs)
        return cls(
            sample_id=manifest.sample_id,
            source_id=manifest.source_id,
            spec=spec,
            inputs=in_memory if small else lazy,
            present=present,
            lengths=lengths,
            targets=read_targets(manifest, targets),
            groups=None
            if groups is None
            else np.unique(_extra(manifest, groups), return_inverse=True)[1].astype(np.int64),
            features={},
        )

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Collate rows, see ``preprocessing.collate``.

        The features of a frozen encoder replace its input: ``<name>_features``, float (batch,
        token, dim), and ``<name>_features_mask``.
        """
        unencoded = self.spec.model_copy(update=dict.fromkeys(self.features))
        arrays = collate([self.inputs[row] for row in rows], unencoded)
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        batch["present"] = torch.from_numpy(self.present[rows])
        for name, features in self.features.items():
            states = [features[row] for row in rows]
            batch[f"{name}_features"] = pad_sequence(states, batch_first=True).float()
            batch[f"{name}_features_mask"] = _mask([len(part) for part in states])
        return batch

    def epoch(self, batch_size: int, seed: int, epoch: int) -> list[npt.NDArray[np.int64]]:
        """Return the row numbers of every batch of an epoch, a function of (seed, epoch).

        Rows are shuffled, sorted by text length within pools and cut into batches; then the batches
        are shuffled.
        """
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(len(self))
        pool = _POOL * batch_size
        batches = []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        random.shuffle(batches)
        return batches

    def select(self, rows: npt.NDArray[np.int64]) -> ClipDataset:
        """Return some rows, int64 (row,), in that order."""
        return replace(
            self,
            sample_id=self.sample_id[rows],
            source_id=self.source_id[rows],
            inputs=_Subset(self.inputs, rows),
            present=self.present[rows],
            lengths=self.lengths[rows],
            targets=self.targets[rows],
            groups=None if self.groups is None else self.groups[rows],
            features={
                name: tuple(all_[row] for row in rows) for name, all_ in self.features.items()
            },
        )

    def inputs_of(self, name: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the inputs of one modality in batches, texts of similar length together.

        Yields:
            Array and mask, as in ``batch``, and float (batch,), 1 where the modality is present.
        """
        only = self.spec.subset([name])
        by_row = np.array_split(np.arange(len(self)), len(self) // 256 + 1)
        for rows in self.by_length(_TEXTS) if name == "text" else by_row:
            arrays = collate([self.inputs[row] for row in rows], only)
            present = self.present[rows, MODALITIES.index(name)]
            x, mask = (torch.from_numpy(arrays[key]) for key in (name, f"{name}_mask"))
            yield x, mask, torch.from_numpy(present)

    def vectors(self, name: str) -> tuple[Tensor, Tensor]:
        """Return a modality with one vector per clip.

        Returns:
            Values, float (row, feature), zero where unknown, and their mask, 1 where known.
        """
        values, masks, present = map(torch.cat, zip(*self.inputs_of(name), strict=True))
        return values, masks * present.unsqueeze(1)

    def with_audio(self, audio: npt.NDArray[np.float32]) -> ClipDataset:
        """Replace the audio inputs that are present, float32 (row, feature)."""
        inputs = [
            clip if clip.audio is None else replace(clip, audio=new)
            for clip, new in zip(self.inputs, audio, strict=True)
        ]
        return replace(self, inputs=inputs)

    def digests(self, name: str) -> list[str]:
        """Return the SHA-256 of a modality's input in each row, as 64 hex digits."""
        arrays = (getattr(inputs, name) for inputs in self.inputs)
        contents = (b"" if x is None else str(x.shape).encode() + x.tobytes() for x in arrays)
        return [hashlib.sha256(content).hexdigest() for content in contents]

    def with_features(
        self, name: str, encode: Callable[[Batch], tuple[Tensor, Tensor]]
    ) -> ClipDataset:
        """Encode every row once with a frozen encoder and store the features.

        Args:
            name: Modality of the encoder.
            encode: Batch to features, float (batch, token, dim), and their mask (batch, token).
        """
        features: list[Tensor] = [torch.empty(0)] * len(self)
        for rows in self.by_length(64):
            values, mask = encode(self.batch(rows))
            lengths = (mask > 0).sum(dim=1).tolist()
            for row, state, length in zip(rows.tolist(), values.half().cpu(), lengths, strict=True):
                features[row] = state[: int(length)].clone()
        return self.with_stored_features(name, tuple(features))

    def with_stored_features(self, name: str, features: tuple[Tensor, ...]) -> ClipDataset:
        """Set the features of a frozen encoder for each row, float16 (token, dim)."""
        return replace(self, features={**self.features, name: features})

    def by_length(self, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
        """Yield all row numbers in batches of similar text length, int64 (batch,)."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def read_targets(manifest: Manifest, names: Sequence[str] = TRAITS) -> npt.NDArray[np.float32]:
    """Return the targets by name, float32 (row, target): the traits, then extra columns.

    Raises:
        DataError: The manifest lacks a column.
    """
    columns = [
        manifest.targets[:, TRAITS.index(name)] if name in TRAITS else _extra(manifest, name)
        for name in names
    ]
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Subset(Sequence[ClipInputs]):
    """A view of selected rows of a sequence."""

    whole: Sequence[ClipInputs]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        return self.whole[int(self.rows[row])]


def _extra(manifest: Manifest, name: str) -> npt.NDArray[np.generic]:
    if name not in manifest.extras:
        raise DataError(
            f"The manifest has no column {name!r}.",
            hint=f"It has {', '.join(sorted(manifest.extras)) or 'no extra columns'}.",
        )
    return manifest.extras[name]


def _mask(lengths: list[int]) -> Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).float()
