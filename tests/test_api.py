"""Training, evaluation and export from Python; the page of the reference runs as it stands."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest

import mmperson
from mmperson.config import load_recipe
from mmperson.datasets import read_manifest, write_manifest
from mmperson.errors import DataError, MissingExtra, UnknownComponent, UsageError
from mmperson.evaluation import Predictions, write_predictions


@pytest.mark.slow
def test_the_example_of_the_reference_runs(
    project_root, tiny_recipe, manifest_file, demo, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_manifest(read_manifest(manifest_file), tmp_path / "manifest.parquet")
    recipe = tiny_recipe.to_yaml().replace(str(manifest_file), "manifest.parquet")
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "clip.mp4").write_bytes(demo.read_bytes())
    page = (project_root / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    code = re.search(r"<!-- example -->\n```python\n(.*?)```", page, re.DOTALL)[1]
    exec(compile(code, "python.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "1-MAE 0." in printed
    assert "clip.mp4 0." in printed


@pytest.fixture
def manifest(manifest_file):
    return read_manifest(manifest_file)


def test_predictions_are_judged_by_path_or_as_objects(manifest, manifest_file, tmp_path):
    rows = manifest.where_split("validation")
    file = tmp_path / "scores.csv"
    write_predictions(file, rows.sample_id, rows.targets)
    loaded = Predictions(tuple(rows.sample_id.tolist()), rows.targets)
    judged = [
        mmperson.evaluate(data, "validation", predictions=given, draws=100)
        for data, given in ((manifest, loaded), (manifest_file, file), (str(manifest_file), file))
    ]
    assert judged[0] == judged[1] == judged[2]
    assert judged[0].mean["accuracy"] == 1.0


def test_predictions_for_other_samples_are_told_of(manifest):
    rows = manifest.where_split("validation")
    names = (*rows.sample_id.tolist(), "stranger")
    notes = []
    given = Predictions(names, np.vstack([rows.targets, rows.targets[:1]]))
    mmperson.evaluate(manifest, "validation", predictions=given, draws=100, on_note=notes.append)
    assert "such as 'stranger'" in notes[0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, UsageError),
        ({"bundle": "a", "run": "b"}, UsageError),
        ({"predictions": "a", "modalities": ["text"]}, UsageError),
        ({"bundle": "a", "modalities": ["smell"]}, UnknownComponent),
        ({"bundle": "a", "protocol": "none"}, UnknownComponent),
    ],
)
def test_a_wrong_evaluation_is_refused(manifest, arguments, error):
    with pytest.raises(error):
        mmperson.evaluate(manifest, "validation", **arguments)


def test_a_recipe_is_a_path_or_an_object(tiny_recipe, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(
        "mmperson.training.train", lambda recipe, run, *_: trained.append((recipe, run))
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(tiny_recipe.to_yaml())
    mmperson.train(tiny_recipe, tmp_path / "run")
    mmperson.train(str(path), str(tmp_path / "run"), overrides={"seed": "7"})
    assert trained[0] == (tiny_recipe, tmp_path / "run")
    assert trained[1] == (load_recipe(path, {"seed": "7"}), tmp_path / "run")
    with pytest.raises(UsageError, match="Overrides need a recipe file"):
        mmperson.train(tiny_recipe, tmp_path / "run", overrides={"seed": "7"})


def test_a_split_without_rows_is_not_exported(manifest, tmp_path):
    alone = replace(manifest, split=np.full(len(manifest), "train"))
    with pytest.raises(DataError, match="no rows in the split 'validation'"):
        mmperson.export("run", tmp_path / "out", alone)


def test_a_missing_package_names_its_extra(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmperson.training", None)
    with pytest.raises(MissingExtra, match="train"):
        mmperson.train(tiny_recipe, tmp_path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mmperson.train(3, "run"), UsageError, "recipe is a path, not 3"),
        (lambda: mmperson.evaluate(3, "test", bundle="x"), UsageError, "data is a path"),
        (
            lambda: mmperson.evaluate("m", "test", bundle="x", modalities=[]),
            UsageError,
            "one or more",
        ),
        (
            lambda: mmperson.evaluate("m", "test", bundle="x", modalities="audio"),
            UsageError,
            "audio",
        ),
        (lambda: mmperson.evaluate("m", "test", bundle="x", draws=1), UsageError, "100 to 100000"),
        (lambda: mmperson.evaluate("m", "test", bundle="x", draws=2.5), UsageError, "draws is 2.5"),
        (lambda: mmperson.evaluate("m", "test", bundle="x", seed=-1), UsageError, "seed is -1"),
        (lambda: mmperson.export("r", "o", "m", precision="int4"), UnknownComponent, "int8"),
        (lambda: mmperson.export(3, "o", "m"), UsageError, "run is a path"),
    ],
)
def test_values_out_of_range_are_refused_before_any_work(call, error, message):
    with pytest.raises(error, match=message):
        call()
