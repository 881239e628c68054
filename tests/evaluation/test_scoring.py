"""Rows that have nothing but a clip are decoded by workers and scored as `predict` would."""

import dataclasses

import numpy as np
import pytest

from mmperson.datasets import read_manifest
from mmperson.evaluation import scoring
from mmperson.evaluation.scoring import score_bundle
from mmperson.inference.predictor import load
from mmperson.pool import worker_pool as pool
from mmperson.traits import TRAITS
from tests.fixtures.media import write_clip


@pytest.fixture
def clips(manifest_file, tmp_path):
    """Three rows without published descriptors; the clip of the second is damaged."""
    manifest = read_manifest(manifest_file).select([2, 3, 4])
    paths = [tmp_path / f"{row}.mp4" for row in range(3)]
    for row, path in enumerate(paths):
        write_clip(path, duration_s=1.0 + row)
    paths[1].write_bytes(b"damaged")
    return dataclasses.replace(
        manifest,
        clip=tuple(map(str, paths)),
        transcript=("I plan my day.", "", "The river is quick."),
        descriptors=np.full((3, 26), np.nan, dtype=np.float32),
    )


@pytest.mark.parametrize("rows_at_once", [256, 2])
def test_scores_are_those_of_predict(tiny_bundle, clips, monkeypatch, rows_at_once):
    monkeypatch.setattr(scoring, "_ROWS_AT_ONCE", rows_at_once)
    scores = score_bundle(tiny_bundle, clips)
    predictor = load(tiny_bundle)
    for row in (0, 2):
        record = predictor.predict(clips.clip[row], clips.transcript[row])
        expected = [getattr(record.scores, trait) for trait in TRAITS]
        np.testing.assert_allclose(scores[row], expected, atol=1e-5)
    assert np.isnan(scores[1]).all()


def test_where_nothing_is_decoded_no_worker_is_started(tiny_bundle, manifest_file, monkeypatch):
    monkeypatch.setattr(pool, "_Worker", lambda *_: pytest.fail("starts a worker"))
    manifest = read_manifest(manifest_file).select([2, 3])
    assert np.isfinite(score_bundle(tiny_bundle, manifest)).all()
