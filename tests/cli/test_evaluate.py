import importlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mmperson.cli.evaluate import evaluate
from mmperson.datasets.manifest import Manifest, write_manifest
from mmperson.errors import DataError, MissingExtra, UnknownComponent, UsageError
from mmperson.evaluation import evaluate_split, read_predictions, write_predictions


@pytest.fixture(scope="module")
def manifest():
    split = ["train"] * 6 + ["test"] * 12
    sources = [f"s{i}" for i in range(6)] + [f"s{i % 8}" for i in range(12)]
    return Manifest(
        sample_id=np.array([f"{name}.{i:03d}" for i, name in enumerate(sources)]),
        source_id=np.array(sources),
        split=np.array(split),
        fold=np.array([int(name[1]) % 2 for name in sources], dtype=np.int64),
        clip=(None,) * 18,
        transcript=tuple(" ".join(["word"] * (i + 1)) for i in range(18)),
        targets=np.random.default_rng(0).uniform(0.1, 0.9, (18, 5)),
        descriptors=np.full((18, 26), np.nan),
        extras={},
    )


@pytest.fixture
def scores(manifest):
    targets = manifest.where_split("test").targets
    return targets + np.random.default_rng(1).normal(0, 0.05, targets.shape)


@pytest.fixture
def run(manifest, scores, tmp_path):
    """Run the verb in a folder with a manifest and a prediction file; return its result."""
    write_manifest(manifest, tmp_path / "manifest.parquet")
    rows = manifest.where_split("test")
    write_predictions(tmp_path / "predictions.csv", rows.sample_id, scores)
    app = typer.Typer()
    app.command()(evaluate)

    def call(*arguments):
        data = ["--data", str(tmp_path / "manifest.parquet"), "--split", "test", "--draws", "100"]
        return CliRunner().invoke(app, [*data, *map(str, arguments)], env={"COLUMNS": "80"})

    return call


@pytest.fixture
def file(tmp_path, run):
    return tmp_path / "predictions.csv"


def test_json_on_stdout_is_the_record_and_nothing_else(run, file, manifest, scores):
    result = run("--predictions", file, "--format", "json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record.pop("scored") == {"predictions": str(file)}
    assert record.pop("modalities") is None
    assert record == evaluate_split(scores, manifest, "test", draws=100).to_dict()


@pytest.mark.parametrize("protocol", ["unseen", "folds"])
def test_the_protocol_and_the_seed_are_passed_on(run, file, protocol):
    arguments = ("--predictions", file, "--format", "json", "--protocol", protocol, "--seed", "7")
    record = json.loads(run(*arguments).stdout)
    assert (record["protocol"], record["seed"]) == (protocol, 7)
    assert ("folds" in record) == (protocol == "folds")


def test_text_on_stdout_is_a_table_with_a_sentence(run, file):
    result = run("--predictions", file)
    assert result.exit_code == 0
    assert "emotional stability" in result.stdout
    assert "than the best baseline" in result.stdout
    assert result.stderr == ""


def test_the_record_and_the_predictions_are_written_and_named(run, file, tmp_path, scores):
    out, saved = tmp_path / "result.json", tmp_path / "saved.csv"
    result = run("--predictions", file, "--out", out, "--save-predictions", saved)
    assert json.loads(out.read_text())["n"] == 12
    np.testing.assert_array_equal(read_predictions(saved).scores, scores)
    for path, line in zip((saved, out), result.stderr.splitlines(), strict=True):
        assert str(path) in line


def test_missing_and_unknown_predictions_are_told(run, file):
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-1], "stranger.000,0.5,0.5,0.5,0.5,0.5"]) + "\n")
    result = run("--predictions", file, "--format", "json")
    assert json.loads(result.stdout)["missing"] == 1
    assert "1 rows had no prediction" in result.stderr
    assert "'stranger.000'" in result.stderr


def test_scores_of_another_scale_are_an_error_and_no_crash(run, file):
    lines = file.read_text().splitlines()
    for first, second in (("1e308", "-1e308"), ("55", "61")):
        name, other = (line.split(",")[0] for line in lines[1:3])
        rows = [f"{name}" + f",{first}" * 5, f"{other}" + f",{second}" * 5]
        file.write_text("\n".join([lines[0], *rows]) + "\n")
        result = run("--predictions", file, "--format", "json")
        assert isinstance(result.exception, DataError)
        assert "Scores are on [0, 1]" in str(result.exception)


def test_what_was_not_scored_is_in_the_sentence(run, file):
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-2]) + "\n")
    assert "10 of 12 rows" in run("--predictions", file).stdout


def test_a_missing_rating_is_null_in_the_record(run, file, manifest, tmp_path):
    targets = manifest.targets.copy()
    targets[0, 0] = np.nan
    targets[:, 3] = np.nan
    write_manifest(replace(manifest, targets=targets), tmp_path / "manifest.parquet")
    record = json.loads(run("--predictions", file, "--format", "json").stdout)
    assert record["unlabelled"] == ["agreeableness"]
    assert record["traits"]["agreeableness"]["ccc"] is None
    assert record["traits"]["openness"]["ccc"] > 0


def test_a_file_of_another_corpus_is_an_error(run, file):
    file.write_text("sample_id,pred_O,pred_C,pred_E,pred_A,pred_N\nx,0.5,0.5,0.5,0.5,0.5\n")
    result = run("--predictions", file)
    assert isinstance(result.exception, DataError)
    assert "None of the 12 test rows has a prediction" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), UsageError, "0 of bundle, run and predictions"),
        (("--bundle", "b", "--predictions", "p.csv"), UsageError, "2 of bundle"),
        (("--predictions", "p.csv", "--modalities", "text"), UsageError, "not predictions"),
        (("--bundle", "b", "--modalities", "text,sound"), UnknownComponent, "called 'sound'"),
        (("--predictions", "p.csv", "--split", "tests"), UnknownComponent, "Did you mean 'test'"),
        (("--predictions", "p.csv", "--protocol", "offical"), UnknownComponent, "'official'"),
        (("--predictions", "p.csv"), DataError, "p.csv"),
    ],
)
def test_a_wrong_call_is_refused(run, arguments, error, message):
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)


def test_an_unwritable_file_is_named_after_the_result(run, file, tmp_path):
    result = run("--predictions", file, "--out", tmp_path / "no" / "result.json")
    assert "emotional stability" in result.stdout
    assert isinstance(result.exception, UsageError)


@pytest.mark.parametrize(
    ("option", "module", "function"),
    [
        ("--bundle", "mmperson.api", "score_bundle"),
        ("--run", "mmperson.training", "score_run"),
    ],
)
def test_a_bundle_or_a_run_scores_the_rows_of_the_split(
    run, monkeypatch, scores, option, module, function
):
    calls = []

    def score(where, rows, modalities):
        calls.append((str(where), len(rows), modalities))
        return np.where(np.arange(12)[:, None] == 4, np.nan, scores)

    monkeypatch.setattr(importlib.import_module(module), function, score)
    result = run(option, "somewhere", "--modalities", "text,audio", "--format", "json")
    record = json.loads(result.stdout)
    assert calls == [("somewhere", 12, ("audio", "text"))]
    assert (record["n"], record["missing"]) == (11, 1)
    assert record["scored"] == {option[2:]: "somewhere"}
    assert record["modalities"] == ["audio", "text"]


def test_a_run_without_torch_names_the_extra(run, monkeypatch):
    class NoTorch:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "torch" or name == "mmperson.training":
                raise ModuleNotFoundError("No module named 'torch'", name="torch")

    for name in [n for n in sys.modules if n == "mmperson.training"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoTorch(), *sys.meta_path])
    result = run("--run", "somewhere")
    assert isinstance(result.exception, MissingExtra)
    assert "mmperson[train]" in str(result.exception)
