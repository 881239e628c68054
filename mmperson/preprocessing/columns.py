"""Feature columns of a manifest, for corpora that publish features instead of clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from mmperson.errors import DataError
from mmperson.preprocessing.modality import FeatureTable, ModalitySpec, Prepared

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip


class ColumnSpec(ModalitySpec):
    """Feature columns of a manifest; clips do not have them."""

    encoder = "vector"
    settings = ("columns",)
    source: ClassVar[Literal["clip", "manifest", "transcript"]] = "manifest"
    description: ClassVar[str] = "published features"

    kind: Literal["columns"] = "columns"
    columns: tuple[str, ...] = Field(min_length=1, max_length=4096)

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column is named twice")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """(column,)."""
        return (len(self.columns),)

    def published(self, table: FeatureTable, row: int) -> npt.NDArray[np.float32] | None:
        """Return a row's values, NaN where unknown, or None if all are unknown.

        Raises:
            DataError: The manifest lacks a column.
        """
        missing = [name for name in self.columns if name not in table.extras]
        if missing:
            raise DataError(
                f"The manifest has no column {', '.join(map(repr, missing))}.",
                hint=f"It has {', '.join(sorted(table.extras)) or 'no extra columns'}.",
            )
        values = np.array([table.extras[name][row] for name in self.columns], dtype=np.float32)
        return values if np.isfinite(values).any() else None

    def prepare(
        self, clip: Clip | None, transcript: str | None, tokenizer: Tokenizer | None
    ) -> Prepared:
        """Return absent: only a manifest has columns."""
        return Prepared(None, "It is read from manifest columns, not from clips.")
