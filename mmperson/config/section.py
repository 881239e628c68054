"""What all sections of a recipe have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmperson.preprocessing.modality import Record


class Section(Record):
    """A part of a recipe: frozen, and strict about its keys."""


def named(default: str) -> Callable[[Any], Any]:
    """Return a validator that fills in the component's name where a section gives none."""

    def fill(content: Any) -> Any:
        return {"name": default, **content} if isinstance(content, dict) else content

    return fill
