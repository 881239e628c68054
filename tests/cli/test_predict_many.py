"""Several clips from the shell: workers, folders, and a file that grows over several runs."""

import csv
import io
import json
import os
import resource
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.errors import UsageError
from mmperson.inference import batch
from mmperson.inference.predictor import Predictor, load
from mmperson.pool import worker_pool as pool
from mmperson.pool.worker import SINGLE_THREAD_ENV
from tests.fixtures.media import write_clip

PROGRAM = "from mmperson.cli.app import main; main()"


@pytest.fixture
def run(tiny_bundle):
    def invoke(*arguments):
        command = ["predict", "--bundle", str(tiny_bundle), *map(str, arguments)]
        return CliRunner().invoke(app, command)

    return invoke


@pytest.fixture
def folder(demo, tmp_path):
    """Three clips and what is none."""
    inside = tmp_path / "clips"
    inside.mkdir()
    for name in ("b.mp4", "a.MP4", "c.mp4"):
        (inside / name).write_bytes(demo.read_bytes())
    (inside / "a.txt").write_text("I plan my day and I laugh a lot.")
    return inside


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names(path):
    return [os.path.basename(row["clip"]) for row in rows(path)]


def test_a_folder_is_scored_by_workers_in_its_order(run, folder, tiny_bundle):
    result = run(folder, "--workers", "2", "--format", "jsonl")
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    clips = [str(folder / name) for name in ("a.MP4", "b.mp4", "c.mp4")]
    assert [record["clip"] for record in found] == clips
    for record, expected in zip(found, load(tiny_bundle).predict(clips), strict=True):
        assert record["scores"] == pytest.approx(expected.scores.model_dump(), abs=1e-5)


@pytest.mark.slow
def test_scores_have_the_same_bits_with_any_number_of_workers(tiny_bundle, tmp_path, project_root):
    for number in range(8):  # of noises of different length: several threads would round otherwise
        noise = np.random.default_rng(number)
        tone = lambda time_s, noise=noise: 0.3 * noise.normal(size=len(time_s)).clip(-3, 3)  # noqa: E731
        path = tmp_path / f"{number}.mp4"
        write_clip(path, video_codec=None, duration_s=2.0 + 0.37 * number, tone=tone)
    free = {name: value for name, value in os.environ.items() if name not in SINGLE_THREAD_ENV}
    command = [sys.executable, "-c", PROGRAM, "predict", str(tmp_path), "--format", "jsonl"]
    command += ["--bundle", str(tiny_bundle), "--workers"]
    seen = set()
    for workers in ("0", "0", "1", "2"):
        answer = subprocess.run(
            [*command, workers], cwd=project_root, env=free, capture_output=True, check=True
        )
        records = [json.loads(line) for line in answer.stdout.splitlines()]
        assert len(records) == 8
        seen.add(json.dumps([record["scores"] for record in records]))
    assert len(seen) == 1


def test_a_folder_without_clips_is_refused(run, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    result = run(tmp_path)
    assert isinstance(result.exception, UsageError)
    assert "no media file" in str(result.exception)


def test_one_clip_needs_no_worker_and_several_get_them(run, demo, monkeypatch):
    monkeypatch.setattr(batch, "imap_unordered", lambda *arguments: pytest.fail("a worker"))
    assert run(demo).exit_code == 0
    assert run(demo, demo, "--workers", "0").exit_code == 0
    seen = []
    monkeypatch.setattr(batch, "imap_unordered", lambda *arguments: seen.append(arguments[2]) or [])
    run(demo, demo)
    run(demo, "--timeout", "7")
    run(demo, "--memory", "99")
    assert seen == [
        pool.WorkerLimits(),
        pool.WorkerLimits(timeout_s=7.0),
        pool.WorkerLimits(memory_mb=99.0),
    ]


def test_limits_without_a_worker_are_refused(run, demo):
    result = run(demo, "--workers", "0", "--timeout", "3")
    assert "need workers" in str(result.exception)
    assert "timeout per clip is -1" in str(run(demo, "--timeout", "-1").exception)


def test_a_clip_out_of_time_is_a_record_and_sets_the_exit_code(run, demo):
    result = run(demo, "--timeout", "0.001")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["error"]["type"] == "MediaTooLarge"
    assert "--timeout" in record["error"]["hint"]


def test_the_name_of_the_file_says_its_format(run, demo, tmp_path):
    for suffix in ("jsonl", "csv", "json"):
        assert run(demo, "--out", tmp_path / f"x.{suffix}").exit_code == 0
    assert len(rows(tmp_path / "x.jsonl")) == 1
    (row,) = csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text()))
    assert row["clip"] == str(demo)
    assert json.loads((tmp_path / "x.json").read_text())["clip"] == str(demo)


@pytest.fixture
def scored(monkeypatch):
    """What is scored, while it is."""
    seen = []
    predict = Predictor.predict

    def note(self, clip, *arguments):
        seen.append(os.path.basename(clip))
        return predict(self, clip, *arguments)

    monkeypatch.setattr(Predictor, "predict", note)
    return seen


def test_a_second_run_scores_only_what_is_not_there(run, folder, tmp_path, scored):
    out = tmp_path / "scores.jsonl"
    to_file = ("--workers", "0", "--out", out)
    assert run(folder / "b.mp4", "missing.mp4", *to_file).exit_code == 1
    before = out.read_text()
    scored.clear()
    result = run(folder, "missing.mp4", *to_file)
    assert "1 of 4 clips are already in" in result.stderr
    assert scored == ["a.MP4", "c.mp4", "missing.mp4"]
    assert names(out) == ["b.mp4", "a.MP4", "c.mp4", "missing.mp4"]
    assert out.read_text().startswith(before.splitlines(keepends=True)[0])
    scored.clear()
    result = run(folder, *to_file)
    assert result.exit_code == 0
    assert "3 of 3 clips are already in" in result.stderr
    assert scored == []
    assert names(out) == ["b.mp4", "a.MP4", "c.mp4", "missing.mp4"]


def test_what_has_changed_is_scored_again(run, folder, tmp_path, scored):
    out = tmp_path / "scores.jsonl"
    to_file = ("--workers", "0", "--out", out)
    run(folder, *to_file)
    scored.clear()
    (folder / "a.txt").write_text("other words")
    os.utime(folder / "b.mp4", ns=(1, 1))
    (folder / "c.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nnew\n")
    assert run(folder, *to_file).exit_code == 0
    assert scored == ["a.MP4", "b.mp4", "c.mp4"]
    assert names(out) == ["a.MP4", "b.mp4", "c.mp4"]


def test_what_another_bundle_scored_is_scored_again(run, folder, tmp_path, tiny_bundle, scored):
    out = tmp_path / "scores.jsonl"
    run(folder, "--workers", "0", "--out", out)
    other = tmp_path / "other"
    other.mkdir()
    for path in tiny_bundle.iterdir():
        content = path.read_bytes()
        if path.name == "bundle.json":
            content = content.replace(b'"version": "', b'"version": "9.')
        (other / path.name).write_bytes(content)
    scored.clear()
    run(folder, "--bundle", other, "--workers", "0", "--out", out)
    assert len(scored) == 3
    assert {row["model"] for row in rows(out)} == {"tiny 9.0.1.0"}


def test_a_clip_that_is_named_twice_has_two_records(run, demo, tmp_path, scored):
    out = tmp_path / "scores.jsonl"
    run(demo, demo, "--workers", "0", "--out", out)
    assert len(rows(out)) == 2
    out.write_text(out.read_text().splitlines(keepends=True)[0])
    scored.clear()
    run(demo, demo, "--workers", "0", "--out", out)
    assert len(scored) == 1
    assert len(rows(out)) == 2


def test_a_torn_line_is_dropped(run, folder, tmp_path, scored):
    out = tmp_path / "scores.jsonl"
    run(folder, "--workers", "0", "--out", out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-30])
    out.chmod(0o640)
    scored.clear()
    assert run(folder, "--workers", "0", "--out", out).exit_code == 0
    assert scored == ["c.mp4"]
    assert names(out) == ["a.MP4", "b.mp4", "c.mp4"]
    assert out.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "scores.jsonl"]


def test_a_file_of_something_else_is_left_alone(run, demo, tmp_path, scored):
    out = tmp_path / "scores.jsonl"
    for content in ('{"my": "data"}\n', "[\n", "\x00\n", '"words"\n'):
        out.write_text(content)
        result = run(demo, "--out", out)
        assert "other than records" in str(result.exception)
        assert out.read_text() == content
    assert scored == []
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


@pytest.mark.slow
def test_a_full_disk_keeps_whole_lines(tiny_bundle, demo, tmp_path, project_root):
    out = tmp_path / "scores.jsonl"
    arguments = ["predict", "--bundle", str(tiny_bundle), *[str(demo)] * 9, "--out", str(out)]
    command = [sys.executable, "-c", PROGRAM, *arguments, "--workers", "0"]

    def scarce():  # stands in for the disk: a write beyond it fails, after a part of the line
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    answer = subprocess.run(
        command, cwd=project_root, capture_output=True, text=True, preexec_fn=scarce, check=False
    )
    assert answer.returncode == 2
    assert "cannot be written" in answer.stderr
    assert str(out) in answer.stderr
    assert "Traceback" not in answer.stderr
    kept = len(rows(out))
    assert 0 < kept < 9
    assert out.read_text().endswith("\n")
    again = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True)
    assert f"{kept} of 9 clips are already in" in again.stderr
    assert len(rows(out)) == 9


@pytest.mark.slow
def test_ctrl_c_finishes_the_clips_in_hand_of_workers(tiny_bundle, demo, tmp_path, project_root):
    out = tmp_path / "scores.jsonl"
    arguments = ["predict", "--bundle", str(tiny_bundle), *[str(demo)] * 500]
    arguments += ["--workers", "2", "--out", str(out)]
    # As in a terminal: not in the background, where a shell lets programs ignore Ctrl-C.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + PROGRAM
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=project_root,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    while not (out.exists() and out.stat().st_size):
        assert process.poll() is None, shlex.join(arguments)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    found = rows(out)
    assert 0 < len(found) < 500
    assert f"{500 - len(found)} of 500 clips remain" in told
    assert all(row["scores"] for row in found)


@pytest.mark.slow
def test_a_second_run_to_the_same_file_is_refused_and_loses_nothing(
    tiny_bundle, demo, tmp_path, project_root
):
    out = tmp_path / "scores.jsonl"
    command = [sys.executable, "-c", PROGRAM, "predict", *[str(demo)] * 60, "--out", str(out)]
    command += ["--bundle", str(tiny_bundle), "--workers", "1"]
    assert subprocess.run([*command[:5], *command[-6:]], cwd=project_root, check=True)
    out.write_bytes(out.read_bytes() + b"torn")  # so that the first run replaces the file
    first = subprocess.Popen(command, cwd=project_root, stderr=subprocess.DEVNULL)
    while out.read_bytes().count(b"\n") < 3:
        assert first.poll() is None
    second = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert first.wait() == 0
    assert second.returncode == 2
    assert "another run" in second.stderr
    assert len(rows(out)) == 60
    assert sorted(os.listdir(tmp_path)) == [out.name]
