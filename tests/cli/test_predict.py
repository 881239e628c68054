import csv
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.errors import UsageError
from mmperson.inference.predictor import Predictor
from mmperson.schema import Prediction

PROFILES = ("exact", "fast", "key")


@pytest.fixture
def run(tiny_bundle):
    def invoke(*arguments):
        options = ["--bundle", str(tiny_bundle)]
        if not {"--workers", "--timeout", "--memory"} & set(arguments):
            options += ["--workers", "0"]
        return CliRunner().invoke(app, ["predict", *options, *arguments])

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


def test_windows_are_a_record_each(run, demo):
    records = json.loads(run(str(demo), "--windows", "3", "--step", "2").stdout)
    assert [record["start_s"] for record in records[:3]] == [0.0, 2.0, 4.0]
    assert all(record["scores"] for record in records)
    rows = csv.DictReader(io.StringIO(run(str(demo), "--windows", "4", "--format", "csv").stdout))
    assert [float(row["start_s"]) for row in rows][:2] == [0.0, 4.0]
    shown = run(str(demo), "--windows", "4", "--format", "text").stdout
    assert re.search(r"4\.0 +8\.0( +0\.\d\d){5}\n", shown)
    assert shown.count("conscient.") == 1
    assert shown.count("cannot be assigned to windows") <= 1


def test_a_recording_that_cannot_be_read_sets_the_exit_code(run):
    result = run("missing.mp4", "--windows", "4")
    assert result.exit_code == 1
    assert "1 of 1 windows could not be scored" in result.stderr


def test_windows_that_cannot_be_are_refused(run, demo):
    refused(run(str(demo), "--step", "4"), "--step needs --windows")
    refused(run(str(demo), "--windows", "0.2"), "1 s or more")
    refused(run(str(demo), str(demo), "--windows", "4"), "for one recording")
    refused(run(str(demo), "--windows", "4", "--timeout", "9"), "in this process")
    assert run(str(demo), "--decode", "fsat").exit_code == 2


def test_a_profile_changes_nothing_for_sound_and_words(run, demo):
    scores = [json.loads(run(str(demo), "--decode", name).stdout)["scores"] for name in PROFILES]
    assert scores[0] == scores[1] == scores[2]


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


def test_an_option_that_may_be_a_clip_gets_told_how(run):
    result = run("-rf.mp4")
    assert result.exit_code == 2
    assert "No such option: -r" in result.stderr
    assert "after ' -- '" in " ".join(result.stderr.replace("│", "").split())


def test_what_people_see_goes_to_a_file_too(run, demo, tmp_path):
    out = tmp_path / "scores.txt"
    assert run(str(demo), "--format", "text", "--out", str(out)).stdout == ""
    assert "emotional stability" in out.read_text(encoding="utf-8")


def refused(result, message):
    assert isinstance(result.exception, UsageError), result.output
    assert message in str(result.exception)


@pytest.fixture
def unused(monkeypatch):
    """Fail if anything is scored."""
    monkeypatch.setattr(Predictor, "predict", lambda *arguments: pytest.fail("scored"))


@pytest.mark.usefixtures("unused")
def test_an_unwritable_file_is_refused_before_scoring(run, demo, tmp_path):
    refused(run(str(demo), "--out", str(tmp_path)), "is a folder")
    refused(run(str(demo), "--out", str(tmp_path / "no" / "x.csv")), "no such folder")
    refused(run(str(demo), "--out", str(tmp_path / ("x" * 300))), "cannot be written")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unused")
def test_the_inputs_are_not_overwritten(run, demo, tmp_path):
    clip, words, link = tmp_path / "a.mp4", tmp_path / "words.txt", tmp_path / "link"
    clip.write_bytes(demo.read_bytes())
    words.write_text("mine")
    link.symlink_to(clip)
    for out in (clip, link, tmp_path / "." / "a.mp4", words):
        refused(
            run(str(clip), "--transcript", str(words), "--out", str(out)), "is one of the inputs"
        )
    refused(run(str(demo), str(clip), "--out", str(clip)), "is one of the inputs")
    for suffix in ("txt", "json"):
        refused(run(str(clip), "--out", str(tmp_path / f"a.{suffix}")), "the transcript of")
    assert clip.read_bytes() == demo.read_bytes()
    assert words.read_text() == "mine"


def test_rows_are_written_as_they_come(run, demo, tmp_path, monkeypatch):
    seen = []
    predict = Predictor.predict

    def watch(self, *arguments):
        (unfinished,) = tmp_path.glob(".mmperson-*")
        seen.append(unfinished.read_text().count("\n"))
        return predict(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", watch)
    out = tmp_path / "records.csv"
    run(str(demo), "a.mp4", "b.mp4", "--format", "csv", "--out", str(out))
    assert seen == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["records.csv"]


def test_a_file_is_replaced_and_keeps_its_permissions(run, tmp_path):
    out = tmp_path / "records.json"
    out.write_text("old")
    out.chmod(0o640)
    assert run("missing.mp4", "--out", str(out)).exit_code == 1
    assert json.loads(out.read_text())["clip"] == "missing.mp4"
    assert out.stat().st_mode & 0o777 == 0o640


@pytest.fixture
def interruptible():
    """Take interrupts, even where these tests run in the background and they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_ctrl_c_finishes_the_clip_in_hand_and_keeps_the_records(
    run, demo, tmp_path, monkeypatch, form
):
    predict = Predictor.predict

    def interrupted(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        return predict(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    out = tmp_path / "records"
    result = run(str(demo), "a.mp4", "b.mp4", "--format", form, "--out", str(out))
    assert result.exit_code == 130
    assert "2 of 3 clips remain" in result.stderr
    text = out.read_text()
    match form:
        case "json":
            clips = [record["clip"] for record in json.loads(text)]
        case "jsonl":
            clips = [json.loads(line)["clip"] for line in text.splitlines()]
        case "csv":
            clips = [row["clip"] for row in csv.DictReader(io.StringIO(text))]
    assert clips == [str(demo)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_ends_at_once_with_what_was_scored(run, tmp_path, monkeypatch):
    predict = Predictor.predict

    def interrupted(self, clip, transcript):
        if clip == "b.mp4":
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return predict(self, clip, transcript)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    out = tmp_path / "records.json"
    assert run("a.mp4", "b.mp4", "c.mp4", "--out", str(out)).exit_code == 130
    assert [record["clip"] for record in json.loads(out.read_text())] == ["a.mp4"]


def test_a_full_disk_keeps_what_was_scored(run, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = run("a.mp4", "--out", str(tmp_path / "records.json"))
    refused(result, "No space left on device")
    (kept,) = tmp_path.iterdir()
    assert json.loads(kept.read_text())["clip"] == "a.mp4"
    assert kept.name in result.stderr


def test_a_name_of_no_encoding_is_written(run, tmp_path):
    for form in ("csv", "jsonl", "text"):
        out = tmp_path / f"records.{form}"
        assert run("\udcff.mp4", "--format", form, "--out", str(out)).exit_code == 1
        assert "udcff.mp4" in out.read_text(encoding="utf-8")
    assert "udcff" in run("\udcff.mp4", "--format", "csv").stdout


PROGRAM = "from mmperson.cli.app import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirected", "code", "message"),
    [
        ("| true", 0, ""),
        ("> /dev/full", 2, "Standard output cannot be written"),
        (">&-", 2, "Standard output is closed"),
    ],
)
def test_output_that_nobody_takes_is_no_traceback(
    tiny_bundle, project_root, redirected, code, message
):
    if "/dev/full" in redirected and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    shell = f'"$0" -c "$1" predict --bundle "$2" a.mp4 b.mp4 {redirected}'
    command = ["sh", "-c", shell, sys.executable, PROGRAM, str(tiny_bundle)]
    answer = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert answer.returncode == code
    assert "Traceback" not in answer.stderr
    assert "Exception" not in answer.stderr
    assert message in answer.stderr
    if not message:
        assert answer.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "predict docs/demo/demo.mp4 --format text",
        pytest.param("doctor", marks=pytest.mark.slow),
        pytest.param("data stats MANIFEST --format json", marks=pytest.mark.slow),
        pytest.param("data stats MANIFEST", marks=pytest.mark.slow),
        pytest.param("data check MANIFEST", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_under_any_output_is_no_traceback(project_root, manifest_file, arguments):
    words = [str(manifest_file) if word == "MANIFEST" else word for word in arguments.split()]
    command = ["sh", "-c", '"$0" -c "$@" > /dev/full', sys.executable, PROGRAM, *words]
    answer = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert answer.returncode == 3
    assert "Traceback" not in answer.stderr
    assert "Exception" not in answer.stderr
    assert re.search(r"OSError: .*\(ENOSPC\)", answer.stderr)


def test_a_folder_that_may_not_be_read_is_refused(run, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    refused(run(str(tmp_path)), "cannot be read: Permission denied")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("form", ["json", "csv", "jsonl"])
def test_an_early_interruption_leaves_the_earlier_file(
    run, tmp_path, monkeypatch, number, code, form
):
    out = tmp_path / f"records.{form}"
    earlier = ["a.mp4", "b.mp4", "c.mp4"]
    assert run(*earlier, "--out", str(out)).exit_code == 1
    before = out.read_text() if form != "jsonl" else ""

    def interrupted(self, clip, transcript):
        signal.raise_signal(number)
        signal.raise_signal(number)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    result = run(*earlier, "--out", str(out))
    assert result.exit_code == code
    assert "3 of 3 clips remain" in result.stderr
    assert "Wrote" not in result.stderr
    assert out.read_text() == before  # lines of clips that failed go before they are tried again
    assert os.listdir(tmp_path) == [out.name]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_ask_to_end_are_taken_as_ctrl_c_is(run, tmp_path, monkeypatch, number):
    predict = Predictor.predict

    def interrupted(self, *arguments):
        signal.raise_signal(number)
        return predict(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    out = tmp_path / "records.json"
    result = run("a.mp4", "b.mp4", "--out", str(out))
    assert result.exit_code == 128 + number
    assert f"{number.name}: finishing the current clips" in result.stderr
    assert [record["clip"] for record in json.loads(out.read_text())] == ["a.mp4"]
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored(run, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Predictor, "predict", lambda *_: seen.append(signal.getsignal(1)) or 1 / 0)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run("a.mp4", "--out", str(tmp_path / "records.json"))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIG_IGN]


def test_stale_files_of_a_killed_run_are_removed_and_named_ones_stay(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "predict", lambda *_: os._exit(9))
    out = tmp_path / "records.csv"
    process = os.fork()
    if not process:
        run("a.mp4", "--out", str(out))
    os.waitpid(process, 0)
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".mmperson-")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        refused(run("a.mp4", "--out", str(out)), "broken")
    (told,) = tmp_path.iterdir()
    assert told != left
    assert run("a.mp4", "--out", str(out)).exit_code == 1
    assert sorted(tmp_path.iterdir()) == sorted([told, out])
