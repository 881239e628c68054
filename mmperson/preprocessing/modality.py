"""What every kind of input has: how one modality is read, prepared, collated, kept and checked.

A spec is a frozen record of numbers and the code that they belong to, so that a new kind of input
is one module here. Only its fields are hashed and travel with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip


class Prepared(NamedTuple):
    """What became of one modality of a clip.

    Attributes:
        array: The network's input; None where the modality is absent.
        absent: Why it is absent.
        warnings: What the reader of the scores should know; one sentence each.
    """

    array: npt.NDArray[Any] | None
    absent: str = ""
    warnings: tuple[str, ...] = ()


class FeatureTable(Protocol):
    """What a manifest holds beside clips and words."""

    @property
    def descriptors(self) -> npt.NDArray[np.float32]:
        """float32 (row, descriptor), NaN where unknown."""

    @property
    def extras(self) -> Mapping[str, npt.NDArray[Any]]:
        """Further columns by name, (row,) each."""


class Record(BaseModel):
    """A frozen record that is strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModalitySpec(Record):
    """One modality of a network's input.

    Attributes:
        source: What it is prepared from.
        dtype: Type of a prepared array.
        may_be_shorter: Whether an array may have less than ``shape`` along its first axis.
        augmentation: What of ``training.augment`` changes it at random, if anything does.
    """

    source: ClassVar[Literal["clip", "manifest", "transcript"]] = "clip"
    dtype: ClassVar[str] = "float32"
    may_be_shorter: ClassVar[bool] = False
    augmentation: ClassVar[str | None] = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of a prepared array, of the longest one where lengths differ."""
        raise NotImplementedError

    @property
    def graph_shape(self) -> tuple[int | None, ...]:
        """Axes of the graph's input behind the batch; None where any size will do."""
        return self.shape

    @property
    def mask_axes(self) -> int:
        """How many axes of an array the mask has."""
        return 1

    @property
    def nbytes(self) -> int:
        """Size of a prepared array in bytes, at most."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def description(self) -> str:
        """What the model card says is read."""
        raise NotImplementedError

    def read_options(self) -> dict[str, Any]:
        """Return the arguments of ``read_clip`` that decode what is read."""
        return {}

    def require(self) -> None:
        """Raise unless everything that preparing needs is installed.

        Raises:
            MissingExtra: A package is not.
        """

    def preload(self) -> None:
        """Load what the first clip would load: a worker has less room once it is confined."""

    def published(self, table: FeatureTable, row: int) -> npt.NDArray[np.float32] | None:
        """Return what a manifest's row holds already; None if the clip must be read."""
        return None

    def prepare(
        self, clip: Clip | None, transcript: str | None, tokenizer: Tokenizer | None
    ) -> Prepared:
        """Prepare the modality of one clip, see ``prepare_clip``."""
        raise NotImplementedError

    def batch_shape(self, arrays: Sequence[npt.NDArray[Any] | None]) -> tuple[int, ...]:
        """Return the axes that arrays of several clips are padded to."""
        return self.shape

    def collate(
        self, arrays: Sequence[npt.NDArray[Any] | None]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Stack the arrays of several clips and mark what is real, see ``collate.collate``."""
        shape = self.batch_shape(arrays)
        batch = np.zeros((len(arrays), *shape), dtype=self.dtype)
        mask = np.zeros((len(arrays), *shape[: self.mask_axes]), dtype=np.float32)
        for values, real, array in zip(batch, mask, arrays, strict=True):
            if array is None:
                real[..., 0] = 1.0
                continue
            inside = tuple(slice(0, size) for size in array.shape)
            values[inside] = array
            real[inside[: real.ndim]] = 1.0
            if array.ndim == real.ndim and array.size:
                known = array >= 0 if self.dtype == "int64" else np.isfinite(array)
                values[inside] = np.where(known, array, 0)
                real[inside] = known
        return batch, mask

    def fits(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
        """Return whether an array of this type and shape can have been prepared by this spec."""
        if dtype != self.dtype:
            return False
        if not self.may_be_shorter:
            return shape == self.shape
        return shape[1:] == self.shape[1:] and len(shape) > 0 and 0 < shape[0] <= self.shape[0]
