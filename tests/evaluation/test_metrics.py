import doctest
import itertools

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from mmperson.errors import DataError
from mmperson.evaluation import metrics
from mmperson.traits import TRAITS


@pytest.fixture(params=["continuous", "tied", "poor"])
def pair(request):
    rng = np.random.default_rng(3)
    t = rng.normal(0.55, 0.15, 300)
    p = 0.4 * t + rng.normal(0.3, 0.1, 300)
    if request.param == "tied":
        t, p = np.round(t, 1), np.round(p, 1)
    if request.param == "poor":
        p = 0.9 - p
    return p, t


def test_the_docstrings_are_right():
    result = doctest.testmod(metrics)
    assert result.attempted >= 8
    assert result.failed == 0


def test_errors_agree_with_scikit_learn(pair):
    p, t = pair
    assert metrics.one_minus_mae(p, t) == pytest.approx(
        1 - sklearn.metrics.mean_absolute_error(t, p)
    )
    assert metrics.mse(p, t) == pytest.approx(sklearn.metrics.mean_squared_error(t, p))
    assert metrics.r2(p, t) == pytest.approx(sklearn.metrics.r2_score(t, p))


def test_correlations_agree_with_scipy(pair):
    p, t = pair
    assert metrics.pcc(p, t) == pytest.approx(scipy.stats.pearsonr(p, t).statistic)
    assert metrics.spearman(p, t) == pytest.approx(scipy.stats.spearmanr(p, t).statistic)


def test_skill_against_the_median_is_scikit_learns_explained_deviance(pair):
    p, t = pair
    expected = sklearn.metrics.d2_absolute_error_score(t, p)
    assert metrics.skill(p, t, float(np.median(t))) == pytest.approx(expected)


def test_everything_agrees_with_torchmetrics(pair):
    import torch
    from torchmetrics import functional

    p, t = (torch.tensor(values, dtype=torch.float64) for values in pair)
    ours = {name: function(*pair, 0.5) for name, function in metrics.METRICS.items()}
    assert ours["accuracy"] == pytest.approx(1 - float(functional.mean_absolute_error(p, t)))
    assert ours["mse"] == pytest.approx(float(functional.mean_squared_error(p, t)))
    assert ours["r2"] == pytest.approx(float(functional.r2_score(p, t)))
    assert ours["pcc"] == pytest.approx(float(functional.pearson_corrcoef(p, t)))
    assert ours["spearman"] == pytest.approx(float(functional.spearman_corrcoef(p, t)), abs=1e-6)
    # torchmetrics divides the variances by n - 1, Lin and we by n.
    assert ours["ccc"] == pytest.approx(float(functional.concordance_corrcoef(p, t)), abs=2 / 300)


def test_ccc_is_pearsons_times_the_bias_correction(pair):
    p, t = pair
    scale, shift = p.std() / t.std(), (p.mean() - t.mean()) / np.sqrt(p.std() * t.std())
    correction = 2 / (scale + 1 / scale + shift**2)
    assert metrics.ccc(p, t) == pytest.approx(scipy.stats.pearsonr(p, t).statistic * correction)


def test_cindex_is_half_of_one_plus_somers_d(pair):
    p, t = (np.round(values[:60], 1) for values in pair)
    expected = (1 + scipy.stats.somersd(t, p).statistic) / 2
    assert metrics.cindex(p, t) == pytest.approx(expected)


def test_cindex_counts_pairs_as_its_definition_says(pair):
    p, t = (values[:40] for values in pair)
    scores = [
        0.5 * (1 + np.sign((p[i] - p[j]) * (t[i] - t[j])))
        for i, j in itertools.combinations(range(40), 2)
        if t[i] != t[j]
    ]
    assert metrics.cindex(p, t) == pytest.approx(np.mean(scores))


def test_cindex_is_the_same_in_small_blocks(pair, monkeypatch):
    whole = metrics.cindex(*pair)
    monkeypatch.setattr(metrics, "_PAIRS_AT_ONCE", 2_100)
    assert metrics.cindex(*pair) == whole


def test_cindex_of_a_binary_target_is_the_area_under_the_roc_curve(pair):
    p, t = pair
    labels = (t > 0.55).astype(float)
    assert metrics.cindex(p, labels) == pytest.approx(sklearn.metrics.roc_auc_score(labels, p))


@pytest.mark.parametrize("value", [0.1, 1 / 3])
def test_constant_predictions_have_stated_values(value):
    t = np.random.default_rng(0).uniform(size=101)
    p = np.full(101, value)
    assert [getattr(metrics, name)(p, t) for name in ("pcc", "ccc", "spearman")] == [0, 0, 0]
    assert metrics.cindex(p, t) == 0.5
    assert metrics.r2(p, t) < 0


def test_constant_targets_have_stated_values():
    p = np.random.default_rng(0).uniform(size=101)
    t = np.full(101, 1 / 3)
    assert [getattr(metrics, name)(p, t) for name in ("r2", "pcc", "ccc", "spearman")] == [0] * 4
    assert metrics.cindex(p, t) == 0.5
    assert metrics.skill(p, t, 1 / 3) == 0.0


def test_a_single_row_is_judged_without_a_warning():
    values = {name: function([0.4], [0.6], 0.5) for name, function in metrics.METRICS.items()}
    assert values["accuracy"] == pytest.approx(0.8)
    assert values["pcc"] == 0.0


@pytest.mark.parametrize(("p", "t"), [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_arrays_that_cannot_be_compared_are_refused(p, t):
    with pytest.raises(DataError, match="shape"):
        metrics.mse(p, t)


def test_traits_are_averaged_and_never_pooled():
    rng = np.random.default_rng(1)
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    t = levels + rng.normal(0, 0.02, (200, 5))
    p = np.tile(levels, (200, 1)) + rng.normal(0, 0.02, (200, 5))
    mean = metrics.average(metrics.per_trait(p, t, t.mean(axis=0)))
    assert abs(mean["pcc"]) < 0.1
    assert metrics.pcc(p.ravel(), t.ravel()) > 0.9


def test_each_trait_gets_its_own_column():
    t = np.random.default_rng(1).uniform(size=(50, 5))
    p = t + np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    traits = metrics.per_trait(p, t, t.mean(axis=0))
    assert list(traits) == list(TRAITS)
    accuracies = [values["accuracy"] for values in traits.values()]
    np.testing.assert_allclose(accuracies, [1.0, 0.9, 0.8, 0.7, 0.6])


def test_a_table_of_another_width_is_refused():
    with pytest.raises(DataError, match=r"\(4, 6\)"):
        metrics.per_trait(np.zeros((4, 6)), np.zeros((4, 6)), np.zeros(6))


def test_partial_spearman_is_what_is_left_of_the_ranks():
    rng = np.random.default_rng(0)
    given = rng.normal(size=4000)
    p, t = (given + rng.normal(size=4000) for _ in range(2))
    assert metrics.spearman(p, t) > 0.4
    assert metrics.partial_spearman(p, t, given) == pytest.approx(0, abs=0.06)
    # The textbook's definition: correlate what a linear fit on the given ranks leaves.
    own = p + t
    ranks = [scipy.stats.rankdata(values) for values in (own, t, given)]
    design = np.stack([np.ones_like(ranks[2]), ranks[2]], axis=1)
    left = [x - design @ np.linalg.lstsq(design, x, rcond=None)[0] for x in ranks[:2]]
    wanted = scipy.stats.pearsonr(*left).statistic
    assert metrics.partial_spearman(own, t, given) == pytest.approx(wanted)


def test_partial_spearman_of_what_the_given_explains_is_zero():
    words, scores = np.arange(9.0), np.arange(9.0) ** 2
    assert metrics.partial_spearman(scores, [3, 1, 2, 6, 4, 5, 9, 7, 8], words) == 0.0
    assert metrics.partial_spearman(np.ones(9), words, words[::-1]) == 0.0
