"""The base of all recipe sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmperson.preprocessing.modality import Record


class Section(Record):
    """A frozen part of a recipe that forbids unknown keys."""


def named(default: str) -> Callable[[Any], Any]:
    """Return a validator that fills in a default component name."""

    def fill(content: Any) -> Any:
        return {"name": default, **content} if isinstance(content, dict) else content

    return fill
