import doctest

import numpy as np
import pytest

from mmperson.errors import DataError, UnknownComponent
from mmperson.evaluation import protocols
from mmperson.evaluation.protocols import grouped_folds, select


@pytest.fixture
def manifest(made_up):
    return made_up(
        ("train", "a", 0, 3),
        ("train", "b", 1, 3),
        ("test", "a", 0, 3),
        ("test", "c", 2, 3),
        ("test", "d", -1, 3),
    )


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("official", [True, True, True]),
        ("unseen", [False, True, True]),
        ("folds", [True, True, False]),
    ],
)
def test_protocols_take_their_rows(manifest, protocol, expected):
    rows = select(protocol, manifest.where_split("train"), manifest.where_split("test"))
    assert rows.tolist() == expected


def test_a_protocol_without_a_row_is_an_error(manifest):
    train = manifest.where_split("train")
    with pytest.raises(DataError, match=r"2 rows.*'unseen'"):
        select("unseen", train, train)


def test_an_unknown_protocol_names_the_nearest(manifest):
    with pytest.raises(UnknownComponent, match="Did you mean 'unseen'"):
        select("unsen", manifest, manifest)


@pytest.mark.parametrize(("split", "n"), [("validation", 326), ("test", 320)])
def test_first_impressions_has_the_known_number_of_unseen_rows(corpus, split, n):
    rows = select("unseen", corpus.where_split("train"), corpus.where_split(split))
    assert rows.sum() == n


def test_the_docstrings_are_right():
    assert doctest.testmod(protocols).failed == 0


def test_grouped_folds_share_no_source_and_are_nearly_equal(corpus):
    sources = corpus.where_split("train").source_id
    fold = grouped_folds(sources, 5, seed=1)
    assert all(len(np.unique(fold[sources == name])) == 1 for name in np.unique(sources)[::20])
    assert np.bincount(fold, minlength=5).tolist() == [1_200] * 5


def test_grouped_folds_depend_on_the_seed_and_not_on_the_order_of_rows():
    sources = np.repeat([f"s{i}" for i in range(50)], 3)
    fold = grouped_folds(sources, 4, seed=2)
    order = np.random.default_rng(0).permutation(len(sources))
    np.testing.assert_array_equal(grouped_folds(sources[order], 4, seed=2), fold[order])
    assert (grouped_folds(sources, 4, seed=3) != fold).any()


@pytest.mark.parametrize("k", [1, 4])
def test_folds_that_cannot_be_filled_are_refused(k):
    with pytest.raises(DataError, match=f"to {k} folds"):
        grouped_folds(["a", "b", "c", "c"], k)
