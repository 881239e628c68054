"""The interface of an input: how one modality is read, prepared, collated, cached and checked.

A spec is a frozen record of parameters together with the code that uses them, so a new kind of
input is one module. Only the fields are hashed and stored in the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, reduce
from math import prod
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip


class Prepared(NamedTuple):
    """One modality of a clip.

    Attributes:
        array: The network's input; None if the modality is absent.
        absent: Reason why it is absent.
        warnings: One sentence each.
    """

    array: npt.NDArray[Any] | None
    absent: str = ""
    warnings: tuple[str, ...] = ()


class FeatureTable(Protocol):
    """Features in a manifest."""

    @property
    def descriptors(self) -> npt.NDArray[np.float32]:
        """float32 (row, descriptor), NaN where unknown."""

    @property
    def extras(self) -> Mapping[str, npt.NDArray[Any]]:
        """Further columns by name, (row,) each."""


class Record(BaseModel):
    """A frozen record; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def one_of(classes: Callable[[], Iterable[type[Record]]], key: str) -> BeforeValidator:
    """Return a validator for one of several records, discriminated by the field ``key``."""
    return BeforeValidator(lambda content: _union(tuple(classes()), key).validate_python(content))


@cache
def _union(classes: tuple[type[Record], ...], key: str) -> TypeAdapter[Any]:
    union: Any = reduce(or_, classes)
    return TypeAdapter(Annotated[union, Field(discriminator=key)])


class ModalitySpec(Record):
    """One modality of a network's input.

    Attributes:
        encoder: Generic encoder: ``vector`` for (feature,), ``sequence`` for (time, feature); None
            if the input needs an encoder of its own.
        settings: Fields that a recipe may set; for a generic encoder.
        source: What it is prepared from.
        dtype: Of a prepared array.
        may_be_shorter: Whether the first axis may be shorter than that of ``shape``.
        augmentation: Name of the augmentation in ``training.augment``, None for none.
    """

    encoder: ClassVar[Literal["vector", "sequence"] | None] = None
    settings: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[Literal["clip", "manifest", "transcript"]] = "clip"
    dtype: ClassVar[str] = "float32"
    may_be_shorter: ClassVar[bool] = False
    augmentation: ClassVar[str | None] = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a prepared array, of the longest one if lengths differ."""
        raise NotImplementedError

    @property
    def graph_shape(self) -> tuple[int | None, ...]:
        """Shape of the graph's input without the batch axis; None where any size is valid."""
        return self.shape

    @property
    def mask_axes(self) -> int:
        """Number of leading axes that the mask covers."""
        return 1

    @property
    def nbytes(self) -> int:
        """Maximum size of a prepared array in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def description(self) -> str:
        """What the model card says that the network reads."""
        raise NotImplementedError

    def read_options(self) -> dict[str, Any]:
        """Return the arguments of ``read_clip`` for this modality."""
        return {}

    def require(self) -> None:
        """Check that the packages for preparing are installed.

        Raises:
            MissingExtra: A package is missing.
        """

    def preload(self) -> None:
        """Load libraries and models before the memory of a worker is limited."""

    def published(self, table: FeatureTable, row: int) -> npt.NDArray[np.float32] | None:
        """Return the features of a manifest row; None if the clip must be read."""
        return None

    def prepare(
        self, clip: Clip | None, transcript: str | None, tokenizer: Tokenizer | None
    ) -> Prepared:
        """Prepare the modality of one clip; see ``prepare_clip``."""
        raise NotImplementedError

    def batch_shape(self, arrays: Sequence[npt.NDArray[Any] | None]) -> tuple[int, ...]:
        """Return the shape to which the arrays of several clips are padded."""
        return self.shape

    def collate(
        self, arrays: Sequence[npt.NDArray[Any] | None]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Stack the arrays of several clips and mask the padding; see ``collate.collate``."""
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
        """Return whether this spec can have prepared an array of this dtype and shape."""
        if dtype != self.dtype:
            return False
        if not self.may_be_shorter:
            return shape == self.shape
        return shape[1:] == self.shape[1:] and len(shape) > 0 and 0 < shape[0] <= self.shape[0]
