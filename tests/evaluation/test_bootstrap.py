import numpy as np
import pytest

from mmperson.errors import DataError
from mmperson.evaluation.bootstrap import (
    bootstrap,
    paired_difference,
    percentile_intervals,
    stratified,
)
from mmperson.evaluation.metrics import METRICS, per_trait
from mmperson.traits import TRAITS

MEAN = np.full(5, 0.5)


def clustered(rng, sources=60, rows=8, shared=0.08, own=0.06):
    """Errors that rows of one source share: mean |error| is sd · √(2/π), known exactly."""
    t = rng.uniform(0.3, 0.7, (sources * rows, 5))
    error = np.repeat(rng.normal(0, shared, (sources, 5)), rows, axis=0)
    p = t + error + rng.normal(0, own, t.shape)
    accuracy = 1 - np.hypot(shared, own) * np.sqrt(2 / np.pi)
    return p, t, np.repeat(np.arange(sources), rows), accuracy


@pytest.fixture
def rated():
    return clustered(np.random.default_rng(0))[:3]


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(11)
    covered = {"source": 0, "row": 0}
    trials = 300
    for trial in range(trials):
        p, t, source, truth = clustered(rng)
        for kind, groups in (("source", source), ("row", np.arange(len(t)))):
            drawn = bootstrap(
                p, t, groups, train_mean=MEAN, draws=300, seed=trial, metrics=("accuracy",)
            )
            interval = percentile_intervals(drawn)["traits"]["openness"]["accuracy"]
            covered[kind] += interval[0] <= truth <= interval[1]
    assert 0.90 <= covered["source"] / trials <= 0.98
    assert covered["row"] / trials < 0.80


def test_the_same_seed_gives_the_same_draws(rated):
    first, second, other = (bootstrap(*rated, train_mean=MEAN, draws=50, seed=s) for s in (4, 4, 5))
    for name in METRICS:
        np.testing.assert_array_equal(first[name], second[name])
        assert (first[name] != other[name]).any()


def test_the_order_of_the_rows_does_not_matter(rated):
    p, t, source = rated
    order = np.random.default_rng(1).permutation(len(t))
    straight = bootstrap(p, t, source, train_mean=MEAN, draws=50)
    shuffled = bootstrap(p[order], t[order], source[order], train_mean=MEAN, draws=50)
    for name in METRICS:
        np.testing.assert_allclose(shuffled[name], straight[name], rtol=1e-10)


def test_intervals_are_the_central_95_percent_per_trait_and_of_the_mean():
    values = np.arange(1_001.0)[:, None] + np.arange(5) * 10_000
    intervals = percentile_intervals({"mse": values})
    assert intervals["traits"]["agreeableness"]["mse"] == pytest.approx([30_025, 30_975])
    assert intervals["mean"]["mse"] == pytest.approx([20_025, 20_975])
    assert list(intervals["traits"]) == list(TRAITS)


def test_a_set_of_predictions_differs_from_itself_by_nothing(rated):
    p, t, source = rated
    difference = paired_difference(p, p, t, source, train_mean=MEAN, draws=100)
    assert set(difference.mean.values()) == {0.0}
    assert all(pair == [0.0, 0.0] for pair in difference.intervals["mean"].values())


def test_a_paired_difference_is_a_minus_b_and_sharper_than_two_intervals(rated):
    p, t, source = rated
    worse = p + np.random.default_rng(2).normal(0, 0.03, p.shape)
    difference = paired_difference(p, worse, t, source, train_mean=MEAN, draws=500)
    a, b = (per_trait(values, t, MEAN) for values in (p, worse))
    assert difference.traits["openness"]["pcc"] == a["openness"]["pcc"] - b["openness"]["pcc"]
    low, high = difference.intervals["mean"]["accuracy"]
    assert 0 < low < difference.mean["accuracy"] < high
    drawn = bootstrap(p, t, source, train_mean=MEAN, draws=500, metrics=("accuracy",))
    alone = percentile_intervals(drawn)["mean"]["accuracy"]
    assert high - low < 0.5 * (alone[1] - alone[0])


def test_strata_are_judged_alone_and_averaged(rated):
    p, t, source = rated
    fold = source % 3
    parts = [per_trait(p[fold == f], t[fold == f], MEAN)["extraversion"]["r2"] for f in range(3)]
    assert stratified(p, t, MEAN, fold)["extraversion"]["r2"] == pytest.approx(np.mean(parts))
    drawn = bootstrap(p, t, source, train_mean=MEAN, strata=fold, draws=400, metrics=("r2",))
    interval = percentile_intervals(drawn)["traits"]["extraversion"]["r2"]
    assert interval[0] < np.mean(parts) < interval[1]


def test_a_partly_rated_trait_is_drawn_from_its_rated_rows_alone(rated):
    p, t, source = rated
    partly = t.copy()
    partly[::3, 1] = np.nan
    rows = ~np.isnan(partly[:, 1])
    drawn = bootstrap(p, partly, source, train_mean=MEAN, draws=50)
    of_all = bootstrap(p, t, source, train_mean=MEAN, draws=50)
    of_rated = bootstrap(p[rows], t[rows], source[rows], train_mean=MEAN, draws=50)
    for name in METRICS:
        np.testing.assert_allclose(drawn[name][:, 1], of_rated[name][:, 1], rtol=1e-10)
        np.testing.assert_allclose(drawn[name][:, [0, 4]], of_all[name][:, [0, 4]], rtol=1e-10)


def test_draws_without_a_rated_row_are_left_out_of_the_percentiles(rated):
    p, t, source = rated
    t[source > 1, 4] = np.nan
    drawn = bootstrap(p, t, source, train_mean=MEAN, draws=200)
    empty = np.isnan(drawn["accuracy"][:, 4])
    assert 0.05 < empty.mean() < 0.25  # (1 - 2 / 60) ** 60 = .13
    low, high = percentile_intervals(drawn)["traits"]["emotional_stability"]["accuracy"]
    kept = drawn["accuracy"][~empty, 4]
    assert (kept.min() <= low < high) & (high <= kept.max())


def test_a_trait_that_one_source_is_rated_for_has_no_interval(rated):
    p, t, source = rated
    t[source > 0, 3] = np.nan
    with pytest.raises(DataError, match=r"two .*agreeableness has 1"):
        bootstrap(p, t, source, train_mean=MEAN, draws=10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, t, s: (p[:-1], t, s), "differ"),
        (lambda p, t, s: (p * np.nan, t, s), "finite"),
        (lambda p, t, s: (p, t, np.zeros(len(t))), "at least two source videos"),
        (lambda p, t, s: (p[:, :4], t, s), r"\(rows, 5\)"),
    ],
)
def test_what_cannot_be_resampled_is_refused(rated, change, message):
    with pytest.raises(DataError, match=message):
        bootstrap(*change(*rated), train_mean=MEAN, draws=10)
