"""Files appear whole or not at all, also where there is no room for them."""

import ctypes
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from mmperson import files
from mmperson.datasets.cache import save_array
from mmperson.errors import UsageError
from mmperson.files import atomic_write, remove_stale, temp_folder, temp_path
from mmperson.models.checkpoint import read_tensors, write_tensors


@contextmanager
def files_up_to(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_small_array_that_finds_no_room_is_an_error(tmp_path):
    # numpy.save into a file says nothing if the last bytes do not fit.
    path = tmp_path / "array.npy"
    with files_up_to(200), pytest.raises(UsageError, match=r"cannot be written.*rerun"):
        save_array(path, np.zeros(26, dtype=np.float32))
    assert os.listdir(tmp_path) == []
    save_array(path, np.ones(26, dtype=np.float32))
    np.testing.assert_array_equal(np.load(path), 1)


def test_tensors_that_find_no_room_leave_the_old_ones(tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"weight": torch.zeros(4)}, {})
    with files_up_to(1000), pytest.raises(UsageError, match="cannot be written"):
        write_tensors(path, {"weight": torch.ones(4000)}, {})
    assert read_tensors(path)[0]["weight"].tolist() == [0.0] * 4
    assert os.listdir(tmp_path) == [path.name]


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_ended_processes_left_is_swept_away(tmp_path, ended):
    mine = temp_path(tmp_path / "a.npy")
    left = mine.with_name(mine.name.replace(f"-{os.getpid()}", f"-{ended}"))
    other = left.with_name(left.name.replace(".a.npy.", ".b."))
    others = [mine, tmp_path / ".a.npy.orig", tmp_path / f".a.npy.{ended}", tmp_path / "a.1", other]
    for path in (left, *others):
        path.touch()
    remove_stale(tmp_path, "a.npy")
    assert sorted(tmp_path.iterdir()) == sorted(others)
    remove_stale(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others[:4])


def test_what_is_written_in_another_container_stays_until_it_is_old(tmp_path, ended):
    """A number says nothing about a process of another machine or container."""
    elsewhere = tmp_path / f".a.npy.00000000-{ended}"
    elsewhere.touch()
    remove_stale(tmp_path)
    assert elsewhere.exists()
    old_s = time.time() - 8 * 86400
    os.utime(elsewhere, (old_s, old_s))
    remove_stale(tmp_path)
    assert not elsewhere.exists()


def test_a_folder_that_a_kill_left_goes_when_the_next_one_is_made(tmp_path, ended, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = "import os; from mmperson.files import temp_folder\nwith temp_folder(): os._exit(9)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    here = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=here, env=environment, check=False)
    (left,) = tmp_path.iterdir()
    (left / "a.npy").touch()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine").touch()
    other = tmp_path / left.name.replace("mmperson-", "mmperson-x")
    other.mkdir()
    link = tmp_path / f"{left.name}x"
    link.symlink_to(kept)
    with temp_folder() as first, temp_folder() as second:
        assert first != second
        assert sorted(tmp_path.iterdir()) == sorted([first, second, kept, link, other])
    assert sorted(tmp_path.iterdir()) == sorted([kept, link, other])
    assert list(kept.iterdir()) == [kept / "mine"]


def test_temp_files_are_told_apart_by_machine_and_process(monkeypatch):
    names = []
    for machine, numbers in (("a", "pid:[1]"), ("a", "pid:[2]"), ("b", "pid:[1]")):
        files._host_id.cache_clear()
        monkeypatch.setattr(platform, "node", lambda name=machine: name)
        monkeypatch.setattr(os, "readlink", lambda _, target=numbers: target)
        names.append(temp_path(Path("a")))
    files._host_id.cache_clear()
    assert len(set(names)) == 3


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path = tmp_path / "file"
    seen = []

    def note(number):
        seen.append(os.fstat(number).st_size)
        assert not path.exists()

    monkeypatch.setattr(os, "fsync", note)
    with atomic_write(path) as unfinished:
        unfinished.write_text("new")
    assert seen == [3]
    save_array(tmp_path / "a.npy", np.zeros(3))  # one of many, which could be made anew
    assert seen == [3]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells of new files")
def test_tensors_are_written_under_a_name_that_is_swept(tmp_path):
    libc = ctypes.CDLL(None)
    notify = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(notify, os.fsencode(tmp_path), 0x100) >= 0  # IN_CREATE
    write_tensors(tmp_path / "state.safetensors", {"weight": torch.ones(4)}, {})
    told = os.read(notify, 4096)
    os.close(notify)
    made = {name.decode() for name in re.findall(rb"[\w.-]{2,}", told)}
    assert made == {temp_path(tmp_path / "state.safetensors").name}
