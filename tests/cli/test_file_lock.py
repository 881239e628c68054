"""One run at a time adds to a file, also while the file is replaced."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmperson.cli.file_lock import FileLock
from mmperson.errors import UsageError


def refused(out):
    with pytest.raises(UsageError, match="another run"):
        FileLock(out)
    return True


def test_a_file_is_held_by_one_and_by_its_other_names_too(tmp_path):
    out, link = tmp_path / "x.jsonl", tmp_path / "link"
    out.write_text("kept\n")
    link.symlink_to(out)
    with FileLock(out):
        assert refused(out)
        assert refused(link)
    with FileLock(link):
        assert refused(out)
    assert out.read_text() == "kept\n"


def test_a_file_that_is_replaced_is_held_at_every_moment(tmp_path):
    out, new = tmp_path / "x.jsonl", tmp_path / "new"
    out.write_text("old\n")
    with FileLock(out):
        new.write_text("new\n")
        os.replace(new, out)
        assert refused(out)
    with FileLock(out):
        assert out.read_text() == "new\n"


def test_a_file_that_was_made_for_nothing_goes(tmp_path):
    out = tmp_path / "x.jsonl"
    with FileLock(out):
        out.touch()
        assert refused(out)
    assert os.listdir(tmp_path) == []
    out.touch()
    with FileLock(out):
        pass
    assert os.listdir(tmp_path) == [out.name]


def test_what_cannot_be_locked_is_refused(tmp_path):
    for name in ("x" * 250, "y"):
        (tmp_path / ".y.lock").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="cannot be locked"):
            FileLock(tmp_path / name)


def test_a_kill_releases_it(tmp_path, project_root):
    out = tmp_path / "x.jsonl"
    program = "import sys; from pathlib import Path; from mmperson.cli.file_lock import FileLock\n"
    program += "lock = FileLock(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(out)],
        cwd=project_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        assert refused(out)
        process.kill()
    with FileLock(out):
        pass
    assert os.listdir(tmp_path) == []


def test_of_many_at_once_no_two_hold_it(tmp_path):
    out = tmp_path / "x.jsonl"
    inside = []

    def attempt(number):
        try:
            with FileLock(out):
                inside.append(number)
                assert len(inside) == 1
                new = tmp_path / f"new{number}"
                new.write_text("line\n")
                os.replace(new, out)
                assert len(inside) == 1
                inside.clear()
        except UsageError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(400))) >= 1
