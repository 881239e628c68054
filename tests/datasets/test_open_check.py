"""Clips of a corpus are opened by workers: one that ends its worker costs itself alone."""

import shutil

import pytest

from mmperson.datasets.checks import check_manifest
from mmperson.datasets.open_check import OpenCheckWorkload, check_clips_open
from mmperson.errors import DataError
from mmperson.pool import worker_pool as pool

# What a hostile clip could make of a worker, by the name of the clip.
HOSTILE = """
import json, os, signal, sys
sys.path[:] = json.loads(sys.argv[1])
from mmperson.datasets import open_check as probing
from mmperson.pool.worker import serve
probe = probing.probe_clip
def act(path):
    match os.path.basename(path):
        case "crash.mp4": os.kill(os.getpid(), signal.SIGSEGV)
        case "eat.mp4": bytearray(2**34)
    return probe(path)
probing.probe_clip = act
serve(sys.argv[2])
"""


@pytest.fixture
def clips(demo, tmp_path):
    """Whole clips of these names, and what is none."""
    names = ("a.mp4", "crash.mp4", "none.mp4", "eat.mp4", "z.mp4")
    for name in names:
        shutil.copyfile(demo, tmp_path / name)
    (tmp_path / "none.mp4").write_bytes(b"no video")
    return [str(tmp_path / name) for name in names]


@pytest.mark.slow
def test_a_clip_that_ends_its_worker_costs_itself_alone(clips, monkeypatch):
    monkeypatch.setattr(pool, "_PROGRAM", HOSTILE)
    told = []
    found = check_clips_open(clips, lambda: told.append(1))
    assert found == [None, "UnreadableMedia", "UnreadableMedia", "MediaTooLarge", None]
    assert len(told) == 5


def test_the_check_names_clips_in_the_order_of_the_rows(make_manifest, clips, monkeypatch):
    monkeypatch.setattr(pool, "_PROGRAM", HOSTILE)
    calls = []
    report = check_manifest(
        make_manifest(clip=(*clips, "gone.mp4")),
        probe=True,
        progress=lambda *call: calls.append(call),
    )
    gone, refused = report.errors
    assert gone.code == "clip-missing"
    assert [example.split()[1] for example in refused.examples] == [
        "(UnreadableMedia)",
        "(UnreadableMedia)",
        "(MediaTooLarge)",
    ]
    assert calls == [(done, 6) for done in range(2, 7)]


def test_workers_that_cannot_start_are_no_fault_of_the_clips(clips, monkeypatch):
    monkeypatch.setattr(pool, "_PROGRAM", "raise SystemExit(3)")
    with pytest.raises(DataError, match="worker could not be started"):
        check_clips_open(clips, lambda: None)


@pytest.mark.parametrize("answer", [{}, {"refusal": 3}])
def test_an_answer_that_is_none_is_refused(answer):
    with pytest.raises(ValueError, match="Invalid answer"):
        OpenCheckWorkload().read("a.mp4", answer)
