import numpy as np
import pytest

from mmperson.evaluation.baselines import (
    BASELINES,
    applicable_baselines,
    constant,
    source_lookup,
    word_count,
)
from mmperson.evaluation.metrics import average, per_trait


def measured(corpus, name, split):
    train, rows = corpus.where_split("train"), corpus.where_split(split)
    return average(
        per_trait(BASELINES[name](train, rows), rows.targets, train.targets.mean(axis=0))
    )


@pytest.mark.parametrize(("split", "accuracy"), [("validation", 0.8834), ("test", 0.8814)])
def test_the_constant_has_the_known_accuracy(corpus, split, accuracy):
    values = measured(corpus, "constant", split)
    assert values["accuracy"] == pytest.approx(accuracy, abs=5e-5)
    assert values["skill"] == 0.0
    assert values["pcc"] == 0.0
    assert values["cindex"] == 0.5


def test_the_word_count_has_the_known_accuracy(corpus):
    assert measured(corpus, "word_count", "test")["accuracy"] == pytest.approx(0.8843, abs=5e-5)


def test_the_source_lookup_has_the_figures_of_the_scored_rows_too(corpus):
    train, rows = corpus.where_split("train"), corpus.where_split("test")
    rows = rows.select([bool(text.strip()) for text in rows.transcript])
    assert len(rows) == 1_997
    values = average(
        per_trait(source_lookup(train, rows), rows.targets, train.targets.mean(axis=0))
    )
    assert values["r2"] == pytest.approx(0.323, abs=5e-4)
    assert values["pcc"] == pytest.approx(0.610, abs=5e-4)


def test_the_source_lookup_has_the_known_figures(corpus):
    values = measured(corpus, "source_lookup", "test")
    assert values["accuracy"] == pytest.approx(0.9049, abs=5e-5)
    assert values["r2"] == pytest.approx(0.324, abs=5e-4)
    assert values["pcc"] == pytest.approx(0.612, abs=5e-4)


def test_the_word_count_finds_a_planted_line(made_up):
    manifest = made_up(*(("train", f"s{n}", 0, n) for n in range(0, 40, 3)))
    words = np.arange(0, 40, 3)
    manifest.targets[:] = 0.2 + 0.1 * np.log1p(words)[:, None] * np.arange(5)
    np.testing.assert_allclose(word_count(manifest, manifest), manifest.targets, atol=1e-12)


def test_the_source_lookup_averages_siblings_or_gives_the_constant(made_up):
    manifest = made_up(
        ("train", "b", 0, 1),
        ("train", "a", 0, 1),
        ("train", "b", 0, 1),
        ("test", "b", 0, 1),
        ("test", "z", 0, 1),
        ("test", "0", 0, 1),
    )
    train, rows = manifest.where_split("train"), manifest.where_split("test")
    scores = source_lookup(train, rows)
    np.testing.assert_allclose(scores[0], train.targets[[0, 2]].mean(axis=0))
    np.testing.assert_allclose(scores[1:], constant(train, rows)[1:])


def test_what_is_not_rated_teaches_nothing(made_up):
    manifest = made_up(
        ("train", "a", 0, 1), ("train", "a", 0, 2), ("train", "b", 0, 4), ("test", "b", 0, 1)
    )
    manifest.targets[2, 0] = np.nan
    manifest.targets[:3, 4] = np.nan
    train, rows = manifest.where_split("train"), manifest.where_split("test")
    rated = train.select([True, True, False])
    for name in BASELINES:
        scores = BASELINES[name](train, rows)
        assert np.isnan(scores[:, 4]).all()
        np.testing.assert_allclose(scores[:, 0], BASELINES[name](rated, rows)[:, 0])
        assert np.isfinite(scores[:, 1:4]).all()


def test_the_source_lookup_belongs_to_the_official_protocol_alone():
    assert "source_lookup" in applicable_baselines("official", "test")
    for protocol, split in (("unseen", "test"), ("folds", "test"), ("official", "train")):
        assert applicable_baselines(protocol, split) == ("constant", "word_count")
