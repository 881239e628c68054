import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from mmperson.evaluation import evaluate_split
from mmperson.evaluation.bootstrap import Difference
from mmperson.evaluation.table import _format_number, print_evaluation, verdict


@pytest.fixture
def result(made_up):
    train = [("train", f"s{i}", 0, 5 + i) for i in range(4)]
    test = [("test", f"s{i}", i % 2, 4 + i) for i in range(8)]
    manifest = made_up(*train, *test)
    targets = manifest.where_split("test").targets
    return evaluate_split(targets + 0.05, manifest, "test", protocol="folds", draws=50)


def printed(result):
    file = io.StringIO()
    print_evaluation(result, Console(file=file, width=80))
    return file.getvalue()


def test_the_table_fits_a_terminal_and_shows_every_part(result):
    table, sentence = printed(result).rsplit("\n", 2)[:2]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "…" not in table
    rows = {line[:20].strip() for line in table.splitlines()}
    assert {"openness", "emotional stability", "mean", "95 % from", "95 % to"} <= rows
    assert {"sd of 2 folds", "constant", "word count"} <= rows
    mean = next(line for line in table.splitlines() if line.startswith("mean"))
    assert mean.split()[1] == ".9500"
    assert sentence == verdict(result)


@pytest.mark.parametrize(
    ("interval", "opening"),
    [
        ([0.01, 0.03], "Better than the best baseline, word count: 1-MAE differs by +0.0200"),
        ([-0.03, -0.01], "Worse than the best baseline, word count"),
        ([-0.01, 0.03], "Not distinguishable from the best baseline, word count"),
    ],
)
def test_the_sentence_follows_the_paired_interval(result, interval, opening):
    difference = Difference(
        mean={"accuracy": 0.02, "r2": 0.1},
        traits={},
        intervals={"mean": {"accuracy": interval}, "traits": {}},
    )
    told = verdict(replace(result, best_baseline="word_count", difference=difference))
    assert told.startswith(opening)
    assert f"({interval[0]:+.4f} to {interval[1]:+.4f}, paired over source videos)" in told


def test_a_result_without_baselines_says_so(result):
    assert "no baseline" in verdict(replace(result, difference=None))


def test_the_sentence_says_on_how_many_rows_it_rests(result):
    assert "Judged on" not in verdict(result)
    told = verdict(replace(result, n=30, missing=1_970))
    assert "30 of 2,000 rows" in told


def test_what_is_not_rated_is_told_and_dashed(made_up):
    train = [("train", f"s{i}", 0, 5 + i) for i in range(4)]
    manifest = made_up(*train, *[("test", f"s{i}", 0, 4 + i) for i in range(8)])
    manifest.targets[:, 3] = np.nan
    manifest.targets[5, 1] = np.nan
    lines = printed(evaluate_split(np.full((8, 5), 0.5), manifest, "test", draws=50)).splitlines()
    assert re.search(r"conscientiousness 7, agreeableness 0\b", lines[1])
    agreeableness = next(line for line in lines if line.startswith("agreeableness "))
    assert set(agreeableness.split()[1:]) == {"–"}


def test_negative_numbers_keep_the_table_within_its_width(result):
    bad = dict.fromkeys(result.mean, -0.1234)
    table = printed(replace(result, mean=bad, traits=dict.fromkeys(result.traits, bad)))
    assert max(len(line) for line in table.splitlines()[:-1]) <= 80


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, ".500"), (-0.25, "-.250"), (0.0, ".000"), (-0.0, ".000"), (-0.0001, ".000"),
     (1.0, "1.000"), (-1.0, "-1.000"), (10.5, "10.500"), (float("nan"), "–")],
)  # fmt: skip
def test_numbers_below_one_have_no_leading_zero(value, text):
    assert _format_number(value, 3) == text
