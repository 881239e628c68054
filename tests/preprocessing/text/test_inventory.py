import re
from collections import Counter

import numpy as np

from mmperson.preprocessing.text.inventory import ITEMS, trait_scores
from mmperson.traits import TRAITS
from tests.preprocessing.text.test_prompts import DEMOGRAPHICS


def test_every_trait_has_two_items_of_each_key():
    counts = Counter((item.trait, item.key) for item in ITEMS)
    assert counts == {(trait, key): 2 for trait in TRAITS for key in (1, -1)}
    assert len({item.statement for item in ITEMS}) == len(ITEMS)


def test_no_item_names_demographics():
    words = {word for item in ITEMS for word in re.findall(r"[a-z]+", item.statement.lower())}
    assert not words & set(DEMOGRAPHICS)


def test_scores_are_keyed_means():
    keys = np.array([item.key for item in ITEMS])
    own = np.array([item.trait == "extraversion" for item in ITEMS])
    answers = np.stack([np.zeros(len(ITEMS)), np.ones(len(ITEMS)), keys * own, -keys * own])
    scores = trait_scores(answers)
    at = TRAITS.index("extraversion")
    assert scores[:, at].tolist() == [0.5, 0.5, 1.0, 0.0]
    assert (np.delete(scores, at, axis=1) == 0.5).all()
