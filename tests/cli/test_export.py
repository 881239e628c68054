import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.config import parse_recipe
from mmperson.datasets import read_manifest, write_manifest
from mmperson.errors import DataError
from mmperson.inference.bundle import open_bundle
from mmperson.training import train
from mmperson.traits import TRAITS


@pytest.fixture(scope="module")
def corpus(manifest_file, tmp_path_factory):
    """The small corpus with a target beyond the traits, in units of its own."""
    rows = read_manifest(manifest_file)
    path = tmp_path_factory.mktemp("corpus") / "manifest.parquet"
    confidence = 10 + np.nan_to_num(rows.descriptors[:, 0]).astype(np.float64)
    write_manifest(dataclasses.replace(rows, extras={"confidence": confidence}), path)
    return path


@pytest.fixture(scope="module")
def run(tiny_recipe, corpus, tmp_path_factory):
    content = tiny_recipe.model_dump(mode="json")
    content["data"] |= {"manifest": str(corpus), "targets": [*TRAITS, "confidence"]}
    content["text"] = None
    return train(parse_recipe(content, source="test"), tmp_path_factory.mktemp("run")).run


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.slow
def test_targets_beyond_the_traits_are_exported_and_the_traits_measured(
    run, corpus, demo, tmp_path
):
    assert invoke("export", run, "--out", tmp_path / "b", "--data", corpus).exit_code == 0
    info = open_bundle(tmp_path / "b").info
    assert info.targets == (*TRAITS, "confidence")
    assert info.metrics["validation, official"].n == 12
    answer = invoke("predict", demo, "--bundle", tmp_path / "b", "--format", "jsonl")
    record = json.loads(answer.stdout)
    assert set(record["scores"]) == set(TRAITS)
    assert 5 < record["other_scores"]["confidence"] < 15


def test_a_run_with_more_targets_is_evaluated_on_the_traits(run, corpus):
    arguments = ("--run", run, "--data", corpus, "--split", "validation", "--format", "json")
    answer = invoke("evaluate", *arguments, "--draws", "100")
    assert set(json.loads(answer.stdout)["traits"]) == set(TRAITS)


@pytest.mark.slow
def test_rows_of_one_person_are_enough_to_export(run, corpus, tmp_path):
    rows = read_manifest(corpus)
    alone = dataclasses.replace(rows, source_id=np.full(len(rows), "ann"))
    write_manifest(alone, tmp_path / "manifest.parquet")
    answer = invoke("export", run, "--out", tmp_path / "b", "--data", tmp_path / "manifest.parquet")
    assert answer.exit_code == 0
    assert open_bundle(tmp_path / "b").info.metrics == {}


def test_a_split_without_rows_is_named(run, corpus, tmp_path):
    with pytest.raises(DataError, match="no rows in the split 'test'"):
        invoke("export", run, "--out", tmp_path / "b", "--data", corpus, "--split", "test")
