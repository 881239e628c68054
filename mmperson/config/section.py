"""What all sections of a recipe have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def named(default: str) -> Callable[[Any], Any]:
    """Return a validator that fills in the component's name where a section gives none."""

    def fill(content: Any) -> Any:
        return {"name": default, **content} if isinstance(content, dict) else content

    return fill
