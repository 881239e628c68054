"""The preprocessing of a recipe."""

from __future__ import annotations

from mmperson.config import Recipe
from mmperson.models.encoders.text import TOKENIZER_FILE, tokenizer_file
from mmperson.models.registry import ENCODERS, component
from mmperson.preprocessing.spec import InputSpec

__all__ = ["TOKENIZER_FILE", "input_spec", "tokenizer_file"]


def input_spec(recipe: Recipe) -> InputSpec:
    """Return the preprocessing that a recipe's encoders need."""
    parts = {}
    for name in recipe.modalities:
        config = getattr(recipe, name)
        parts[name] = component(f"{name} encoder", ENCODERS[name], config.name).spec(config)
    return InputSpec(**parts)
