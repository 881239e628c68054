"""A short inventory: statements that people rate as accurate or inaccurate of themselves.

Each trait has two positively and two negatively keyed items. No item names age, gender, origin or
any other attribute of a person.

Source: modelled on the International Personality Item Pool (Goldberg 1999, ipip.ori.org), whose
items are in the public domain.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mmperson.traits import TRAITS


class Item(NamedTuple):
    """A statement of the inventory.

    Attributes:
        trait: Name of the trait.
        key: 1 if agreement indicates the trait, -1 if it indicates the opposite.
        statement: In the first person.
    """

    trait: str
    key: int
    statement: str


ITEMS: Final = (
    Item("openness", 1, "I enjoy hearing new ideas."),
    Item("openness", 1, "I have a vivid imagination."),
    Item("openness", -1, "I avoid things that I do not know."),
    Item("openness", -1, "I am not interested in art."),
    Item("conscientiousness", 1, "I get my work done right away."),
    Item("conscientiousness", 1, "I make plans and stick to them."),
    Item("conscientiousness", -1, "I leave my things lying around."),
    Item("conscientiousness", -1, "I forget what I have promised."),
    Item("extraversion", 1, "I feel at ease with people."),
    Item("extraversion", 1, "I start conversations."),
    Item("extraversion", -1, "I have little to say."),
    Item("extraversion", -1, "I keep in the background."),
    Item("agreeableness", 1, "I feel for other people."),
    Item("agreeableness", 1, "I take time for others."),
    Item("agreeableness", -1, "I insult people."),
    Item("agreeableness", -1, "I am not interested in other people's problems."),
    Item("emotional_stability", 1, "I stay calm under pressure."),
    Item("emotional_stability", 1, "I seldom feel sad."),
    Item("emotional_stability", -1, "I worry about many things."),
    Item("emotional_stability", -1, "I get upset easily."),
)

INTRODUCTION: Final = (
    "\n\nThe person who said this fills in a questionnaire and rates how well each statement "
    "describes them, from 1 (very inaccurate) to 5 (very accurate).\n"
)
"""Text between the transcript and the items."""

ANSWERS: Final = (1, 2, 3, 4, 5)


def question(item: Item) -> str:
    """Return the text of an item, which a space and an answer follow."""
    return f"\nStatement: {item.statement}\nRating:"


def trait_scores(answers: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Average the keyed answers of each trait, without training.

    Args:
        answers: float (row, item), from -1 (very inaccurate) to 1 (very accurate).

    Returns:
        float64 (row, trait) on [0, 1], in the order of ``TRAITS``.
    """
    keyed = np.asarray(answers, dtype=np.float64) * [item.key for item in ITEMS]
    means = [keyed[:, [item.trait == trait for item in ITEMS]].mean(axis=1) for trait in TRAITS]
    return 0.5 + 0.5 * np.stack(means, axis=1)
