import numpy as np
import pytest

from mmperson.evaluation import bootstrap_metrics as resampled
from mmperson.evaluation.metrics import METRICS


def sample_of(predictions, targets, sizes, draws, seed=0):
    sizes = np.asarray(sizes)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=draws)
    return resampled.Sample(predictions, targets, starts, sizes, counts.astype(np.float64))


def all_metrics(sample, train_mean):
    return {
        **resampled.moment_metrics(sample, train_mean),
        "spearman": resampled.spearman(sample),
        "cindex": resampled.cindex(sample),
    }


def repeated(sample, draw, values):
    return np.repeat(values, np.repeat(sample.counts[draw], sample.sizes).astype(int), axis=0)


@pytest.fixture
def rated():
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 7, 40)
    t = np.round(rng.normal(0.55, 0.15, (sizes.sum(), 5)), 2)
    p = 0.3 * t + rng.normal(0.4, 0.05, t.shape)
    p[:, 1] = np.round(p[:, 1], 1)
    p[:, 2] = 1 / 3
    p[:, 3] += 1e3
    return p, t, sizes


def test_every_draw_equals_the_metric_of_the_repeated_rows(rated):
    p, t, sizes = rated
    sample, train_mean = sample_of(p, t, sizes, draws=30), np.linspace(0.4, 0.6, 5)
    values = all_metrics(sample, train_mean)
    assert set(values) == set(METRICS)
    for draw in range(30):
        rows_p, rows_t = repeated(sample, draw, p), repeated(sample, draw, t)
        for name, metric in METRICS.items():
            expected = [metric(rows_p[:, i], rows_t[:, i], train_mean[i]) for i in range(5)]
            np.testing.assert_allclose(values[name][draw], expected, rtol=1e-7, atol=1e-9)


def test_blocks_do_not_change_the_result(rated, monkeypatch):
    p, t, sizes = rated
    sample = sample_of(p, t, sizes, draws=30)
    whole = all_metrics(sample, np.full(5, 0.5))
    monkeypatch.setattr(resampled, "_CELLS_AT_ONCE", 7 * len(t))
    monkeypatch.setattr(resampled, "_PAIRS_AT_ONCE", 10 * len(t))
    blocked = all_metrics(sample, np.full(5, 0.5))
    for name in whole:
        np.testing.assert_allclose(blocked[name], whole[name], rtol=1e-12)


def test_source_blocks_cover_every_source_once():
    sizes = np.array([1, 2_000, 3, 1_999, 1, 1])
    blocks = resampled._source_blocks(sizes)
    assert len(blocks) > 1
    assert [i for block in blocks for i in range(len(sizes))[block]] == list(range(len(sizes)))


def test_a_draw_of_one_source_without_variance_has_stated_values():
    t = np.array([[0.2] * 5, [0.2] * 5, [0.7] * 5])
    sample = resampled.Sample(
        t + 0.1, t, np.array([0, 2]), np.array([2, 1]), np.array([[2.0, 0.0]])
    )
    values = all_metrics(sample, np.full(5, 0.2))
    for name in ("r2", "pcc", "ccc", "spearman", "skill"):
        assert values[name].tolist() == [[0.0] * 5], name
    assert values["cindex"].tolist() == [[0.5] * 5]
