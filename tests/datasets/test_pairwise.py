"""Scores from comparisons: planted ones are found again, and wrong tables are refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import spearmanr
from typer.testing import CliRunner

from mmperson.cli.data import app
from mmperson.datasets.pairwise import (
    Comparisons,
    PairwiseFit,
    fit_pairwise,
    noise_level,
    read_comparisons,
    write_scores,
)
from mmperson.errors import DataError, UsageError

HEADER = "group,trait,winner,loser\n"


def plant(
    clips: int, traits: int, rank: int, comparisons: int, groups: int = 1, seed: int = 0
) -> tuple[Comparisons, np.ndarray]:
    """Return judgements drawn from the model, and the scores that they were drawn from."""
    random = np.random.default_rng(seed)
    scores = 2 * random.normal(size=(clips, rank)) @ random.normal(size=(rank, traits))
    scores /= np.sqrt(rank)
    group = np.sort(np.arange(clips) % groups)
    first = random.integers(clips, size=comparisons)
    shift = random.integers(1, clips // groups, size=comparisons)
    start = np.searchsorted(group, group[first])
    second = start + (first - start + shift) % (clips // groups)
    trait = random.integers(traits, size=comparisons)
    wins = random.random(comparisons) < expit(scores[first, trait] - scores[second, trait])
    planted = Comparisons(
        traits=tuple(f"trait{number}" for number in range(traits)),
        group=np.array([f"g{number}" for number in group]),
        clip=np.array([f"clip{number:03d}" for number in range(clips)]),
        trait=trait,
        winner=np.where(wins, first, second),
        loser=np.where(wins, second, first),
    )
    return planted, scores


@pytest.fixture(scope="module")
def planted() -> tuple[Comparisons, np.ndarray]:
    return plant(clips=80, traits=5, rank=2, comparisons=12_000)


@pytest.fixture(scope="module")
def fit(planted: tuple[Comparisons, np.ndarray]) -> PairwiseFit:
    return fit_pairwise(planted[0])


def write(path: Path, lines: str, header: str = HEADER) -> Path:
    path.write_text(header + lines, encoding="utf-8")
    return path


def objective(judged: Comparisons, scores: np.ndarray, weight: float) -> float:
    margin = scores[judged.winner, judged.trait] - scores[judged.loser, judged.trait]
    nuclear = np.linalg.svd(scores, compute_uv=False).sum()
    return float(np.log1p(np.exp(-margin)).sum() + weight * nuclear)


def test_planted_scores_are_found_again(planted: tuple[Comparisons, np.ndarray], fit: PairwiseFit):
    found = [spearmanr(fit.scores[:, m], planted[1][:, m])[0] for m in range(5)]
    assert min(found) > 0.9
    assert fit.likelihood > np.log(0.5) + 0.2


def test_traits_help_each_other():
    judged, scores = plant(clips=80, traits=5, rank=1, comparisons=2_500, seed=3)
    lone = []
    for m in range(5):
        rows = judged.trait == m
        alone = Comparisons(
            ("only",), judged.group, judged.clip,
            np.zeros(rows.sum(), dtype=np.int64), judged.winner[rows], judged.loser[rows],
        )  # fmt: skip
        lone.append(spearmanr(fit_pairwise(alone, 0.1).scores[:, 0], scores[:, m])[0])
    together = fit_pairwise(judged).scores
    joint = [spearmanr(together[:, m], scores[:, m])[0] for m in range(5)]
    assert np.mean(joint) > np.mean(lone) + 0.03


def test_the_nuclear_norm_lowers_the_rank(planted: tuple[Comparisons, np.ndarray]):
    fits = [fit_pairwise(planted[0], penalty) for penalty in (0.01, 1.2, 3.0)]
    assert fits[0].rank == 5
    assert fits[1].rank == 2  # What was planted.
    assert fits[0].rank > fits[1].rank >= fits[2].rank
    norms = [np.linalg.svd(fit.scores, compute_uv=False).sum() for fit in fits]
    assert norms[0] > norms[1] > norms[2] > 0
    assert fits[0].likelihood > fits[1].likelihood > fits[2].likelihood


def test_it_is_the_minimum():
    judged, _ = plant(clips=12, traits=3, rank=1, comparisons=400)
    fit = fit_pairwise(judged, 1.0)
    weight = noise_level(judged)
    best = objective(judged, fit.scores, weight)

    random = np.random.default_rng(1)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(50):
            other = fit.scores + size * random.normal(size=fit.scores.shape)
            assert objective(judged, other, weight) > best - 1e-6 * abs(best)
    assert objective(judged, 0.99 * fit.scores, weight) > best
    assert objective(judged, 1.01 * fit.scores, weight) > best


def test_one_trait_agrees_with_an_independent_optimiser():
    judged, _ = plant(clips=10, traits=1, rank=1, comparisons=300)
    fit = fit_pairwise(judged, 0.5)
    weight = 0.5 * noise_level(judged)
    # Of one column, the nuclear norm is the length.
    other = minimize(
        lambda x: objective(judged, x[:, None], weight), 0.1 * np.arange(10.0), tol=1e-10
    )
    np.testing.assert_allclose(fit.scores[:, 0], other.x - other.x.mean(), atol=2e-3)


def test_scores_are_centred_in_each_group():
    judged, scores = plant(clips=60, traits=3, rank=1, comparisons=6_000, groups=3)
    fit = fit_pairwise(judged)
    for group in ("g0", "g1", "g2"):
        rows = judged.group == group
        assert rows.sum() == 20
        np.testing.assert_allclose(fit.scores[rows].mean(axis=0), 0, atol=1e-12)
        assert spearmanr(fit.scores[rows, 0], scores[rows, 0])[0] > 0.9
    assert judged.split_groups() == ()


def test_a_clip_that_always_wins_has_a_finite_score(tmp_path: Path):
    judged = read_comparisons(write(tmp_path / "c.csv", "q,o,best,x\n" * 40))
    fit = fit_pairwise(judged, 0.1)
    scores = dict(zip(judged.clip.tolist(), fit.scores[:, 0], strict=True))
    assert 1 < scores["best"] < 10
    assert scores["x"] == pytest.approx(-scores["best"])


def test_a_table_becomes_numbers(tmp_path: Path):
    lines = "q2,warmth,b,a\nq1,warmth,a,b\nq1,drive,b,a\nq1,warmth,a,c\n"
    judged = read_comparisons(write(tmp_path / "c.csv", lines))
    assert judged.traits == ("drive", "warmth")
    assert [*zip(judged.group.tolist(), judged.clip.tolist(), strict=True)] == [
        ("q1", "a"),
        ("q1", "b"),
        ("q1", "c"),
        ("q2", "a"),
        ("q2", "b"),
    ]
    assert judged.trait.tolist() == [1, 1, 0, 1]
    assert judged.winner.tolist() == [4, 0, 1, 0]
    assert judged.loser.tolist() == [3, 1, 0, 2]
    assert judged.counts().tolist() == [[1, 2], [1, 1], [0, 1], [0, 1], [0, 1]]


def test_the_group_is_optional(tmp_path: Path):
    path = write(tmp_path / "c.csv", "o,a,b\n", "trait,winner,loser\n")
    assert read_comparisons(path).group.tolist() == ["", ""]


def test_clips_that_nothing_links_are_told(tmp_path: Path):
    lines = "q1,o,a,b\nq1,o,c,d\nq2,o,a,b\nq2,o,c,b\n"
    assert read_comparisons(write(tmp_path / "c.csv", lines)).split_groups() == ("q1",)


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        (HEADER, "q,o,a,a\n", "line 2: 'a' is compared with itself"),
        (HEADER, "q,o,a,b\nq,o,,b\n", "line 3: winner is empty"),
        (HEADER, ",o,a,b\n", "line 2: group is empty"),
        (HEADER, "q,,a,b\n", "line 2: trait is empty"),
        (HEADER, "q,o,a\n", "line 2: 3 cells, not 4"),
        (HEADER, "", "there are no comparisons"),
        ("trait,winner,looser\n", "o,a,b\n", "lacks the columns loser"),
        ("trait,winner,loser,gruop\n", "o,a,b,q\n", "unknown columns gruop.*Did you mean 'group'"),
        ("", "", "is empty"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, header: str, lines: str, message: str):
    with pytest.raises(DataError, match=message):
        read_comparisons(write(tmp_path / "c.csv", lines, header))


def test_penalties_that_leave_nothing_are_refused(planted: tuple[Comparisons, np.ndarray]):
    for penalty in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(DataError, match="must be above 0"):
            fit_pairwise(planted[0], penalty)
    with pytest.raises(DataError, match="sets every score to 0"):
        fit_pairwise(planted[0], 100.0)


def test_the_noise_level_is_what_coin_tosses_give():
    judged, _ = plant(clips=200, traits=8, rank=1, comparisons=20_000)
    random = np.random.default_rng(0)
    tosses = random.choice([-0.5, 0.5], size=len(judged))
    slope = np.zeros((200, 8))
    np.add.at(slope, (judged.winner, judged.trait), tosses)
    np.add.at(slope, (judged.loser, judged.trait), -tosses)
    assert noise_level(judged) == pytest.approx(np.linalg.norm(slope, 2), rel=0.1)


def test_scores_are_written_and_read(fit: PairwiseFit, tmp_path: Path):
    path = tmp_path / "new" / "scores.csv"
    write_scores(fit, path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["clip"] for row in rows] == fit.comparisons.clip.tolist()
    assert sum(int(row["comparisons"]) for row in rows) == 2 * len(fit.comparisons)
    written = [[float(row[name]) for name in fit.comparisons.traits] for row in rows]
    np.testing.assert_allclose(written, fit.scores, atol=1e-6)
    assert [file.name for file in path.parent.iterdir()] == ["scores.csv"]


def test_the_verb(tmp_path: Path):
    lines = "q1,o,a,b\n" * 9 + "q1,o,b,a\n" + "q1,o,c,d\n" * 9
    source, out = write(tmp_path / "c.csv", lines), tmp_path / "scores.csv"
    command = ["fit-pairwise", str(source), "--out", str(out), "--penalty", "0.2"]
    answer = CliRunner().invoke(app, command)

    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == ""
    assert "19 comparisons of 4 clips on 1 traits: scores of rank 1" in answer.stderr
    assert "the comparisons of 1 groups, such as 'q1'" in answer.stderr
    assert f"Wrote {out}" in answer.stderr
    assert out.read_text().splitlines()[0] == "group,clip,comparisons,o"

    (tmp_path / "file").touch()
    command[3] = str(tmp_path / "file" / "scores.csv")
    answer = CliRunner().invoke(app, command)
    assert isinstance(answer.exception, UsageError)
    assert "cannot be written" in str(answer.exception)
