"""Clips are scored where the system lacks what only POSIX has, as Windows does."""

import json
import subprocess
import sys

import pytest

# What Windows lacks of what the standard library imports with care; taken away in the process that
# scores, and in its workers.
HIDE = """
import os, signal, sys
import numpy  # before os.uname goes: on Linux it asks for the kernel's version
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in (
    (os, ("uname", "getuid", "getloadavg", "sysconf", "sched_getaffinity", "killpg", "EX_OSERR",
          "O_NONBLOCK")),
    (signal, ("SIGALRM", "SIGHUP", "SIGBUS", "SIGSYS", "setitimer", "pthread_sigmask", "alarm",
              "ITIMER_REAL")),
):
    for name in names:
        delattr(module, name)
"""
SCORE = """
from mmperson.pool import worker_pool
worker_pool._PROGRAM = HIDE + worker_pool._PROGRAM
from mmperson.cli.app import main
main()
"""


def predict(project_root, *arguments):
    program = f"{HIDE}\nHIDE = {HIDE!r}\n{SCORE}"
    command = [sys.executable, "-c", program, "predict", *map(str, arguments)]
    return subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_are_scored_without_posix(project_root, demo, tiny_bundle, tmp_path, workers):
    arguments = (demo, demo, "--bundle", tiny_bundle, "--workers", workers)
    answer = predict(project_root, *arguments, "--out", tmp_path / "x.jsonl")
    assert answer.returncode == 0, answer.stderr
    records = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [record["error"] for record in records] == [None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_clip_out_of_time_is_ended_by_the_parent(project_root, demo, tiny_bundle):
    answer = predict(project_root, demo, "--bundle", tiny_bundle, "--timeout", "0.001")
    assert answer.returncode == 1, answer.stderr
    assert json.loads(answer.stdout)["error"]["type"] == "MediaTooLarge"


def test_memory_without_limits_is_said(project_root, demo, tiny_bundle):
    answer = predict(project_root, demo, "--bundle", tiny_bundle, "--memory", "64")
    assert answer.returncode == 0, answer.stderr
    assert "--memory has no effect" in answer.stderr
