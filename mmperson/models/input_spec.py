"""The preprocessing of a recipe."""

from __future__ import annotations

from mmperson.config import Recipe
from mmperson.models.encoders.text import TOKENIZER_FILE, tokenizer_file
from mmperson.models.registry import ENCODERS
from mmperson.preprocessing.spec import InputSpec

__all__ = ["TOKENIZER_FILE", "input_spec", "tokenizer_file"]


def input_spec(recipe: Recipe) -> InputSpec:
    """Return the preprocessing that a recipe's encoders need."""
    parts = {}
    for name in recipe.modalities:
        config = getattr(recipe, name)
        encoder = ENCODERS[name].get(config.name)
        parts[name] = encoder.spec(config) if encoder else config.spec()
    return InputSpec(**parts)
