"""`mmperson data`: import, check, stats."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mmperson.cli.data import app
from mmperson.datasets import Manifest, read_manifest, write_manifest
from mmperson.errors import DataError, UnknownComponent, UsageError
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS
from mmperson.traits import TRAITS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def imported(first_impressions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "new folder" / "fi.parquet"
    result = run("import", "first-impressions", first_impressions, "--out", path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "10,000 clips (6,000 train, 2,000 validation, 2,000 test)" in result.stderr
    assert f"Wrote {path}" in result.stderr
    assert f"Next: mmperson data check {path}" in result.stderr
    return path


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """A manifest with a label out of range, a lost clip and one blank transcript."""
    targets = np.full((4, len(TRAITS)), 0.5)
    targets[1, 0] = 1.5
    manifest = Manifest(
        sample_id=np.array(["[red]a", "b", "c", "d"]),
        source_id=np.array(["a", "b", "c", "d"]),
        split=np.array(["train", "train", "test", "test"]),
        fold=np.full(4, -1),
        clip=(None, None, "/nowhere/c.mp4", None),
        transcript=("", "one", "two", "three"),
        targets=targets,
        descriptors=np.full((4, len(DESCRIPTORS)), np.nan, dtype=np.float32),
    )
    write_manifest(manifest, tmp_path / "flawed.parquet")
    return tmp_path / "flawed.parquet"


def test_import_writes_a_manifest(imported: Path):
    manifest = read_manifest(imported)
    assert len(manifest) == 10_000
    assert manifest.provenance["corpus"] == "ChaLearn First Impressions V2"


def test_import_refuses_what_it_does_not_know(tmp_path: Path):
    out = tmp_path / "out.parquet"
    result = run("import", "first-impresions", tmp_path, "--out", out)
    assert isinstance(result.exception, UnknownComponent)
    result = run("import", "first-impressions", tmp_path, "--out", out)
    assert isinstance(result.exception, DataError)
    assert not out.exists()


def test_import_says_where_it_cannot_write(first_impressions: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    result = run("import", "first-impressions", first_impressions, "--out", tmp_path / "file" / "m")
    assert isinstance(result.exception, UsageError)
    assert "cannot be written" in str(result.exception)


def test_check_reports_as_json(imported: Path):
    result = run("check", imported, "--no-probe", "--format", "json")

    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["ok"] is True
    assert [facts["rows"] for facts in report["splits"].values()] == [6000, 2000, 2000]
    counts = {finding["code"]: finding["count"] for finding in report["findings"]}
    assert counts["transcript-blank"] == 11
    assert f"5 warnings in {imported}" in result.stderr


def test_check_reports_as_text_and_opens_clips(imported: Path):
    result = run("check", imported)

    assert result.exit_code == 0
    assert "blank transcripts: 11" in result.stdout
    assert "326" in result.stdout
    assert "320" in result.stdout
    assert "clips were opened" in result.stderr


def test_check_fails_on_errors_and_names_them(flawed: Path):
    result = run("check", flawed)

    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 2
    text = str(result.exception)
    assert "rows with labels outside [0, 1] (openness): 1, such as b" in text
    assert "missing clip files: 1, such as c" in text
    assert "blank" not in text
    assert "[red]a" in result.stdout


def test_check_prints_errors_as_json_too(flawed: Path):
    result = run("check", flawed, "--format", "json")

    assert isinstance(result.exception, DataError)
    report = json.loads(result.stdout)
    assert report["ok"] is False
    levels = [finding["level"] for finding in report["findings"]]
    assert levels == ["error", "error", "warning"]


def test_stats_give_the_published_figures(imported: Path):
    result = run("stats", imported, "--format", "json")

    assert result.exit_code == 0
    stats = json.loads(result.stdout)
    assert round(stats["labels"]["agreeableness"]["std"], 4) == 0.1364
    test = stats["baselines"]["test"]
    assert stats["baselines"]["validation"]["official"]["constant"]["accuracy"] == pytest.approx(
        0.8834, abs=5e-5
    )
    assert test["official"]["constant"]["accuracy"] == pytest.approx(0.8814, abs=5e-5)
    lookup = test["official"]["source_lookup"]
    assert lookup["accuracy"] == pytest.approx(0.9049, abs=5e-5)
    assert lookup["r2"] == pytest.approx(0.324, abs=5e-4)
    assert lookup["pcc"] == pytest.approx(0.612, abs=5e-4)
    assert test["unseen"].keys() == {"constant", "word_count"}


def test_stats_print_tables(imported: Path):
    lines = run("stats", imported).stdout.splitlines()

    assert any(
        line.split() == ["openness", "0.5663", "0.1470", "0.0000", "1.0000"] for line in lines
    )
    assert any(line.split()[:3] == ["test", "2,000", "3"] for line in lines)
    assert any("source lookup" in line and "0.9049" in line for line in lines)


def test_stats_need_no_training_rows(flawed: Path, tmp_path: Path):
    path = tmp_path / "test.parquet"
    write_manifest(read_manifest(flawed).where_split("test"), path)

    stats = json.loads(run("stats", path, "--format", "json").stdout)

    assert stats["baselines"] == {}
    assert stats["rows"] == {"test": 2}
    assert run("stats", path).exit_code == 0


def test_an_absent_manifest_is_an_error(tmp_path: Path):
    for verb in ("check", "stats"):
        assert isinstance(run(verb, tmp_path / "absent.parquet").exception, DataError)


def test_an_empty_manifest_is_an_error_without_examples(flawed: Path, tmp_path: Path):
    path = tmp_path / "empty.parquet"
    write_manifest(read_manifest(flawed).select([]), path)

    result = run("check", path)

    assert isinstance(result.exception, DataError)
    assert result.exception.findings == ("there are no rows",)
    assert run("stats", path).exit_code == 0
