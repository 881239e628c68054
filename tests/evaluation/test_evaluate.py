import json

import numpy as np
import pytest

from mmperson.errors import DataError, UnknownComponent
from mmperson.evaluation import evaluate, evaluate_split, read_predictions
from mmperson.evaluation.metrics import METRICS
from mmperson.traits import LETTERS, TRAITS


@pytest.fixture(scope="module")
def published(first_impressions, corpus):
    folder = first_impressions / "published_predictions"
    predictions = read_predictions(folder / "full_seed42_test_predictions.csv")
    reported = json.loads((folder / "paper_seed42_metrics.json").read_text())
    return predictions.align(corpus.where_split("test").sample_id), reported["Full"]


@pytest.fixture
def small(made_up):
    """Four training and eight test rows; test sources t0 and t1 are in no training row."""
    train = [("train", f"s{i}", i % 2, 5 + i) for i in range(4)]
    test = [("test", f"{'st'[i % 2]}{i // 4}", i // 4, 4 + i) for i in range(8)]
    return made_up(*train, *test)


def test_published_predictions_reproduce_their_authors_metrics(published, corpus):
    scores, reported = published
    result = evaluate_split(scores, corpus, "test", draws=100)
    assert (result.n, result.missing) == (1_999, 1)
    for letter, trait in zip(LETTERS, TRAITS, strict=True):
        expected = reported["trait_metrics"][letter]
        assert 1 - result.traits[trait]["accuracy"] == pytest.approx(expected["mae"], abs=1e-6)
        assert result.traits[trait]["accuracy"] == pytest.approx(expected["racc"], abs=1e-6)
        assert result.traits[trait]["r2"] == pytest.approx(expected["r2"], abs=1e-6)
        assert result.traits[trait]["pcc"] == pytest.approx(expected["pcc"], abs=1e-6)
    average = reported["average"]
    assert result.mean["accuracy"] == pytest.approx(average["racc"], abs=1e-6)
    assert result.mean["r2"] == pytest.approx(average["r2"], abs=1e-6)
    assert result.mean["pcc"] == pytest.approx(average["pcc"], abs=1e-6)


@pytest.mark.slow
def test_published_predictions_beat_the_lookup_by_a_paired_margin(published, corpus):
    result = evaluate_split(published[0], corpus, "test", draws=500)
    assert result.best_baseline == "source_lookup"
    low, high = result.difference.intervals["mean"]["accuracy"]
    assert 0 < low < result.difference.mean["accuracy"] < high
    assert result.difference.mean["accuracy"] == pytest.approx(
        result.mean["accuracy"] - result.baselines["source_lookup"]["accuracy"]
    )


@pytest.mark.slow
def test_unseen_sources_are_harder_than_the_official_split(published, corpus):
    official, unseen = (
        evaluate_split(published[0], corpus, "test", protocol=name, draws=100)
        for name in ("official", "unseen")
    )
    assert unseen.n + unseen.missing == 320
    assert unseen.mean["r2"] < official.mean["r2"]
    assert "source_lookup" not in unseen.baselines


def test_folds_are_averaged_and_their_spread_is_told(published, corpus):
    result = evaluate_split(published[0], corpus, "test", protocol="folds", draws=100)
    values = [fold["pcc"] for fold in result.folds.per_fold]
    assert len(values) == 10
    assert result.mean["pcc"] == pytest.approx(np.mean(values))
    assert result.folds.sd["pcc"] == pytest.approx(np.std(values, ddof=1))
    low, high = result.intervals["mean"]["pcc"]
    assert low < result.mean["pcc"] < high


def test_the_record_is_json_with_every_contracted_key(small):
    rows = small.where_split("test")
    record = evaluate_split(rows.targets + 0.1, small, "test", draws=50).to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    contracted = ("mean", "traits", "intervals", "n", "n_sources", "protocol", "split", "baselines")
    added = ("missing", "labelled", "unlabelled", "draws", "seed", "versus_best_baseline")
    added += ("spearman_given_words",)
    assert {*contracted, *added} == set(record)
    assert list(record["mean"]) == list(METRICS)
    assert list(record["traits"]) == list(record["intervals"]["traits"]) == list(TRAITS)
    assert set(record["baselines"]) == {"constant", "word_count", "source_lookup"}
    assert record["mean"]["accuracy"] == pytest.approx(0.9)
    assert record["intervals"]["mean"]["accuracy"] == pytest.approx([0.9, 0.9])


def test_scores_that_count_words_know_nothing_given_the_word_count(made_up):
    rng = np.random.default_rng(0)
    rows = [("test", f"s{i}", 0, 20 + i) for i in range(40)]
    manifest = made_up(*[("train", f"t{i}", 0, 9) for i in range(4)], *rows)
    words = np.arange(40.0)
    targets = manifest.where_split("test").targets
    scores = np.repeat(words[:, np.newaxis] / 40, 5, axis=1)
    told = evaluate_split(scores, manifest, "test", draws=50)
    assert told.given_words == dict.fromkeys((*TRAITS, "mean"), 0.0)
    told = evaluate_split(targets + 0.01 * rng.normal(size=targets.shape), manifest, "test")
    assert told.given_words["mean"] > 0.9


def test_rows_without_a_prediction_are_counted_and_judged_nowhere(small):
    rows = small.where_split("test")
    scores = rows.targets.copy()
    scores[0] = np.nan
    scores[3, 2] = np.nan
    result = evaluate_split(scores, small, "test", draws=50)
    assert (result.n, result.missing) == (6, 2)
    train_mean = small.where_split("train").targets.mean(axis=0)
    kept = rows.targets[[1, 2, 4, 5, 6, 7]]
    assert result.baselines["constant"]["accuracy"] == pytest.approx(
        1 - np.abs(kept - train_mean).mean()
    )


def test_missing_counts_only_rows_of_the_protocol(small):
    rows = small.where_split("test")
    scores = rows.targets.copy()
    scores[rows.source_id == "s0"] = np.nan
    result = evaluate_split(scores, small, "test", protocol="unseen", draws=50)
    assert (result.n, result.n_sources, result.missing) == (4, 2, 0)


def test_the_same_seed_gives_the_same_record(small):
    scores = np.random.default_rng(0).uniform(size=(8, 5))
    first, second = (evaluate_split(scores, small, "test", draws=50, seed=3) for _ in range(2))
    assert first.to_dict() == second.to_dict()


def test_bare_arrays_are_judged_without_baselines():
    rng = np.random.default_rng(0)
    targets = rng.uniform(size=(30, 5))
    result = evaluate(targets, targets, np.arange(30) // 3, train_mean=np.full(5, 0.5), draws=50)
    assert result.n_sources == 10
    assert result.mean["ccc"] == pytest.approx(1)
    assert result.baselines == {}
    assert result.to_dict()["protocol"] is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"split": "tset"}, UnknownComponent, "Did you mean 'test'"),
        ({"protocol": "fold"}, UnknownComponent, "Did you mean 'folds'"),
        ({"predictions": np.zeros((3, 5))}, DataError, "3 predictions were given for 8 test rows"),
        ({"predictions": np.full((8, 5), np.nan)}, DataError, "None of the 8 test rows has"),
    ],
)
def test_what_cannot_be_judged_is_refused(small, change, error, message):
    call = {"predictions": np.zeros((8, 5)), "split": "test", **change}
    with pytest.raises(error, match=message):
        evaluate_split(call.pop("predictions"), small, **call)


def test_a_missing_training_rating_teaches_nothing(small):
    small.targets[0, 2] = np.nan
    rows = small.where_split("test")
    result = evaluate_split(rows.targets + 0.1, small, "test", draws=50)
    assert result.unlabelled == ()
    mean = small.targets[1:4, 2].mean()
    expected = 1 - 0.1 / np.abs(rows.targets[:, 2] - mean).mean()
    assert result.traits["extraversion"]["skill"] == pytest.approx(expected)
    assert all(np.isfinite(list(values.values())).all() for values in result.baselines.values())


def test_a_trait_is_judged_on_the_rows_that_have_a_rating(small):
    rows = small.where_split("test")
    scores = np.random.default_rng(0).uniform(size=(8, 5))
    whole = evaluate_split(scores, small, "test", draws=50)
    rows.targets[[1, 6], 2] = np.nan
    small.targets[4:] = rows.targets
    partly = evaluate_split(scores, small, "test", draws=50)

    error = np.abs(scores - rows.targets)[:, 2]
    assert partly.traits["extraversion"]["accuracy"] == pytest.approx(1 - np.nanmean(error))
    assert (partly.n, partly.missing) == (8, 0)
    assert partly.labelled == {**dict.fromkeys(TRAITS, 8), "extraversion": 6}
    for trait in TRAITS:
        same = trait != "extraversion"
        assert (partly.traits[trait] == whole.traits[trait]) is same
        assert (partly.intervals["traits"][trait] == whole.intervals["traits"][trait]) is same


@pytest.mark.parametrize("unrated", [slice(0, 4), slice(4, None)], ids=["train", "test"])
@pytest.mark.parametrize("protocol", ["official", "folds"])
def test_a_trait_without_a_rating_is_listed_and_left_out_of_the_mean(small, unrated, protocol):
    small.targets[unrated, 3] = np.nan
    scores = np.random.default_rng(0).uniform(size=(8, 5))
    result = evaluate_split(scores, small, "test", protocol=protocol, draws=50)
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert record["unlabelled"] == ["agreeableness"]
    assert record["labelled"]["agreeableness"] == 0
    assert set(record["traits"]["agreeableness"].values()) == {None}
    assert record["intervals"]["traits"]["agreeableness"]["r2"] == [None, None]
    others = [record["traits"][trait]["r2"] for trait in TRAITS if trait != "agreeableness"]
    assert record["mean"]["r2"] == pytest.approx(np.mean(others))
    low, high = record["intervals"]["mean"]["accuracy"]
    assert low < record["mean"]["accuracy"] < high


def test_rows_without_any_rating_are_not_judged(small):
    small.targets[[4, 7]] = np.nan
    scores = np.random.default_rng(0).uniform(size=(8, 5))
    result = evaluate_split(scores, small, "test", draws=50)
    assert (result.n, result.missing) == (6, 0)
    small.targets[4:] = np.nan
    with pytest.raises(DataError, match="'official'"):
        evaluate_split(scores, small, "test")


def test_a_manifest_without_training_rows_is_refused(small):
    with pytest.raises(DataError, match="no training rows"):
        evaluate_split(np.zeros((8, 5)), small.where_split("test"), "test")
