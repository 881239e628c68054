"""Folds that an importer deals; ``grouped_folds`` is also tested where evaluation uses it."""

import numpy as np
import pytest

from mmperson.datasets.folds import FOLDS, assign_folds, grouped_folds
from mmperson.errors import DataError


def test_folds_are_disjoint_even_and_always_the_same():
    people = np.random.default_rng(0).integers(100, size=700).astype(str)
    folds = assign_folds(people)

    assert set(folds.tolist()) == set(range(FOLDS))
    assert all(len(np.unique(folds[people == person])) == 1 for person in people)
    assert np.bincount(folds).min() >= 0.9 * len(people) / FOLDS
    order = np.random.default_rng(1).permutation(len(people))
    np.testing.assert_array_equal(assign_folds(people[order]), folds[order])


def test_few_people_have_few_folds_and_one_has_none():
    folds = assign_folds(["a", "b", "b", "c"])
    assert set(folds.tolist()) == {0, 1, 2}
    assert folds[1] == folds[2]
    assert assign_folds(["a", "a"]).tolist() == [-1, -1]
    assert assign_folds([]).tolist() == []
    with pytest.raises(DataError, match="1 sources cannot be assigned to 2 folds"):
        grouped_folds(["a", "a"], 2)
