"""The five traits: order, names, letters and scale.

Scores are *apparent* impressions by observers on the [0, 1] scale of First Impressions V2, where 0
is the lowest and 1 the highest rating of the corpus. The fifth trait is emotional stability;
neuroticism is its complement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TRAITS: Final = (
    "openness",
    "conscientiousness",
    "extraversion",
    "agreeableness",
    "emotional_stability",
)
"""Trait names in the order of every score array's last axis."""

LETTERS: Final = ("O", "C", "E", "A", "N")
"""One-letter names in the same order, as prediction files use them (N holds emotional
stability)."""


def neuroticism(emotional_stability: float) -> float:
    """Return apparent neuroticism on the [0, 1] scale, the complement of emotional stability."""
    return 1.0 - emotional_stability


def by_trait(values: object) -> Mapping[str, float]:
    """Return five values in the order of ``TRAITS`` by trait name."""
    numbers = [float(value) for value in values]  # type: ignore[attr-defined]
    return dict(zip(TRAITS, numbers, strict=True))
