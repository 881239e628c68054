"""The weights that ship, and the figures that are claimed for them."""

import json

import numpy as np
import pytest

from mmperson.config import load_recipe, parse_recipe
from mmperson.datasets import import_corpus
from mmperson.evaluation.scoring import score_bundle
from mmperson.inference.bundle import DEFAULT_BUNDLE, open_bundle
from mmperson.inference.predictor import load


@pytest.fixture(scope="module")
def result(project_root):
    """The newest committed result."""
    files = sorted((project_root / "benchmarks" / "results").glob("*-impressions.json"))
    return json.loads(files[-1].read_text(encoding="utf-8"))


def test_the_default_bundle_is_whole_and_says_what_it_reads():
    info = open_bundle(DEFAULT_BUNDLE).info
    assert info.modalities == ("audio", "text")
    assert info.metrics
    assert info.parity["fp32"] <= 1e-4


def test_the_default_bundle_comes_from_the_recipe_in_configs(project_root):
    recipe = load_recipe(project_root / "configs" / "impressions_text_audio.yaml")
    shipped = open_bundle(DEFAULT_BUNDLE).info
    assert parse_recipe(shipped.recipe, source="bundle") == recipe


def test_the_readme_shows_the_newest_result(project_root, result):
    readme = (project_root / "README.md").read_text(encoding="utf-8")
    assert result["file"] in readme
    for row in result["rows"]:
        assert f"{row['mean']['accuracy']:.4f}" in readme


def test_real_clips_score_like_their_published_features(first_impressions):
    corpus = import_corpus("first-impressions", first_impressions)
    rows = corpus.select(np.array([clip is not None for clip in corpus.clip]))
    predictor = load(DEFAULT_BUNDLE)
    published = score_bundle(predictor, rows)
    compared = 0
    for row in range(len(rows)):
        record = predictor.predict(rows.clip[row], transcript=rows.transcript[row])
        assert record.scores is not None
        if np.isfinite(rows.descriptors[row]).all():
            scores = np.array(list(record.scores.model_dump().values()))
            assert np.abs(scores - published[row]).max() <= 0.02
            compared += 1
    assert (len(rows), compared) == (7, 6)
