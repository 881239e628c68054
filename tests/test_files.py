"""Files appear whole or not at all, also where there is no room for them."""

import ctypes
import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from mmperson.data.cache import save_array
from mmperson.errors import UsageError
from mmperson.files import sweep, whole
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
    with whole(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_small_array_that_finds_no_room_is_an_error(tmp_path):
    # numpy.save into a file says nothing if the last bytes do not fit.
    path = tmp_path / "array.npy"
    with files_up_to(200), pytest.raises(UsageError, match=r"cannot be written.*goes on"):
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


def test_only_what_ended_processes_left_is_swept_away(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine, left = tmp_path / f".a.npy.{os.getpid()}", tmp_path / f".a.npy.{ended.pid}"
    others = [mine, tmp_path / ".a.npy.orig", tmp_path / "a.1", tmp_path / f".b.{ended.pid}"]
    for path in (left, *others):
        path.touch()
    sweep(tmp_path, "a.npy")
    assert sorted(tmp_path.iterdir()) == sorted(others)
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others[:3])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells of new files")
def test_tensors_are_written_under_a_name_that_is_swept(tmp_path):
    libc = ctypes.CDLL(None)
    notify = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(notify, os.fsencode(tmp_path), 0x100) >= 0  # IN_CREATE
    write_tensors(tmp_path / "state.safetensors", {"weight": torch.ones(4)}, {})
    told = os.read(notify, 4096)
    os.close(notify)
    made = {name.decode() for name in re.findall(rb"[\w.-]{2,}", told)}
    assert made == {f".state.safetensors.{os.getpid()}"}
