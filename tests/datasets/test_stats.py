"""The figures of a corpus."""

from collections.abc import Callable

import numpy as np
import pytest

from mmperson.datasets import Manifest, compute_stats


def test_the_figures_of_the_real_corpus(corpus: Manifest):
    stats = compute_stats(corpus)

    assert stats.rows == {"train": 6000, "validation": 2000, "test": 2000}
    published = {
        "openness": (0.5663, 0.1470),
        "conscientiousness": (0.5227, 0.1552),
        "extraversion": (0.4761, 0.1523),
        "agreeableness": (0.5482, 0.1364),
        "emotional_stability": (0.5203, 0.1535),
        "interview": (0.5038, 0.1501),
    }
    found = {n: (round(s.mean, 4), round(s.std, 4)) for n, s in stats.labels.items()}
    assert found == published
    assert sum(words.blank for words in stats.words.values()) == 11


def test_only_training_labels_count(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest(6, extras={"interview": np.array([0.2, 1, 1, np.nan, 1, 1])})
    manifest.targets[:, 0] = [0.1, 9, 9, 0.5, 9, 9]

    labels = compute_stats(manifest).labels

    assert labels["openness"].mean == pytest.approx(0.3)
    assert labels["openness"].std == pytest.approx(0.2)
    assert (labels["openness"].minimum, labels["openness"].maximum) == (0.1, 0.5)
    assert labels["interview"].mean == pytest.approx(0.2)


def test_words_are_counted_where_there_are_any(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest(6, transcript=("one two", " ", "", "one  two\nthree four", "", ""))

    words = compute_stats(manifest).words

    assert (words["train"].mean, words["train"].median, words["train"].maximum) == (3, 3, 4)
    assert words["validation"].blank == 2
    assert words["validation"].mean == 0


def test_a_manifest_without_training_rows_has_no_labels(make_manifest: Callable[..., Manifest]):
    stats = compute_stats(make_manifest(6).where_split("test"))

    assert stats.labels == {}
    assert stats.rows == {"test": 2}
    assert compute_stats(make_manifest(0)).to_dict() == {"rows": {}, "labels": {}, "words": {}}
