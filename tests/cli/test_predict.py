import csv
import io
import json

import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.schema import Prediction


@pytest.fixture
def run(tiny_bundle):
    def invoke(*arguments):
        return CliRunner().invoke(app, ["predict", "--bundle", str(tiny_bundle), *arguments])

    return invoke


def test_one_clip_is_one_record(run, demo):
    result = run(str(demo))
    assert result.exit_code == 0
    assert Prediction.model_validate(json.loads(result.stdout)).scores is not None


def test_several_clips_are_a_list_and_a_failure_sets_the_exit_code(run, demo):
    result = run(str(demo), "missing.mp4")
    assert result.exit_code == 1
    records = json.loads(result.stdout)
    assert [record["error"] is None for record in records] == [True, False]
    assert "1 of 2 clips could not be scored" in result.stderr


def test_lines_and_tables_hold_the_same_scores(run, demo):
    (line,) = run(str(demo), "--format", "jsonl").stdout.splitlines()
    (row,) = csv.DictReader(io.StringIO(run(str(demo), "--format", "csv").stdout))
    scores = json.loads(line)["scores"]
    assert {trait: float(row[trait]) for trait in scores} == scores
    assert row["video"] == "unread"


def test_people_see_a_bar_a_trait(run, demo):
    shown = run(str(demo), "--format", "text").stdout
    assert "emotional stability" in shown
    assert "no diagnosis" in shown


def test_records_go_to_a_file(run, demo, tmp_path):
    out = tmp_path / "records.json"
    result = run(str(demo), "--out", str(out))
    assert result.stdout == ""
    assert json.loads(out.read_text())["clip"] == str(demo)


def test_a_name_that_begins_with_a_dash(run, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-a.mp4").write_bytes(demo.read_bytes())
    assert json.loads(run("--", "-a.mp4").stdout)["clip"] == "-a.mp4"
