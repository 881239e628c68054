"""Clips of a corpus are decoded by workers: one that ends its worker costs itself alone."""

import dataclasses
import sys

import numpy as np
import pytest

from mmperson.datasets import read_manifest, rows
from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.decoding import DecodingWorkload, decode_clips, refusals
from mmperson.datasets.rows import prepare_row
from mmperson.errors import DataError, UsageError
from mmperson.pool import worker_pool as pool
from mmperson.pool.worker_pool import WorkerLimits
from mmperson.preprocessing.spec import FrameSpec, InputSpec, LogMelSpec
from tests.fixtures.media import write_clip

# What a hostile clip could make of a worker, by the name of the clip.
HOSTILE = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
import numpy as np
from mmperson.datasets import decoding, rows
from mmperson.pool.worker import serve
read = rows.read_clip
def act(path, **how):
    match os.path.basename(path):
        case "crash.mp4": os.kill(os.getpid(), signal.SIGSEGV)
        case "hang.mp4": time.sleep(600)
        case "eat.mp4": np.ones(2**30)
        case "write.mp4":
            with open(path + ".written", "wb") as file:
                file.write(b"x" * 2**20)
    return read(path, **how)
rows.read_clip = act
serve(sys.argv[2])
"""
SPEC = InputSpec(
    video=FrameSpec(count=2, short_side=32, height=32, width=32), audio=LogMelSpec(window_s=1.0)
)
ONE = WorkerLimits(workers=1, timeout_s=20.0)


@pytest.fixture
def corpus(manifest_file, tmp_path):
    """Rows with the words of others, and clips of these names."""

    def make(*names):
        clips = [tmp_path / name for name in names]
        for clip in set(clips):
            kind = {"video_codec": None} if clip.stem == "sound" else {}
            write_clip(clip, duration_s=0.6, **kind)
        manifest = read_manifest(manifest_file).select(range(2, 2 + len(names)))
        return dataclasses.replace(manifest, clip=tuple(map(str, clips)))

    return make


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache", SPEC)


def test_workers_keep_what_would_be_read_here(corpus, cache, monkeypatch):
    manifest = corpus("a.mp4", "sound.m4a", "a.mp4")
    expected = [prepare_row(manifest, row, SPEC, None) for row in range(3)]
    told = []
    assert decode_clips(manifest, SPEC, cache, WorkerLimits(workers=2), told.append) == 0
    assert told[0] == 0
    assert told[-1] == 3
    monkeypatch.setattr(rows, "read_clip", lambda *_, **__: pytest.fail("reads a clip"))
    for row, inputs in enumerate(expected):
        kept = prepare_row(manifest, row, SPEC, None, cache)
        np.testing.assert_array_equal(kept.present, inputs.present)
        np.testing.assert_allclose(kept.audio, inputs.audio, atol=1e-4)
        if row != 1:
            np.testing.assert_array_equal(kept.video, inputs.video)
    monkeypatch.setattr(pool, "_Worker", lambda *_: pytest.fail("starts a worker"))
    assert decode_clips(manifest, SPEC, cache, ONE) == 0  # the missing picture is final


@pytest.mark.slow
def test_a_clip_that_ends_its_worker_costs_itself_alone(corpus, cache, monkeypatch, tmp_path):
    names = ["crash.mp4", "hang.mp4", "eat.mp4", "write.mp4", "good.mp4"]
    if not sys.platform.startswith("linux"):
        names.remove("eat.mp4")
    manifest = corpus(*names)
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_PROGRAM", HOSTILE)
        limits = WorkerLimits(workers=2, timeout_s=3.0, memory_mb=512)
        assert decode_clips(manifest, SPEC, cache, limits) == len(names) - 1
    told = {
        "crash.mp4": "was ended by SIGSEGV",
        "hang.mp4": "took longer than 3 s",
        "eat.mp4": "needs more than 512 MB",
        "write.mp4": "raised OSError",
        "good.mp4": None,
    }
    for name, clip in zip(names, manifest.clip, strict=True):
        refusal = cache.refusal(clip, "audio")
        assert refusal is None if told[name] is None else told[name] in refusal
    with monkeypatch.context() as patch:  # what ended a worker is never opened here
        patch.setattr(rows, "read_clip", lambda *_, **__: pytest.fail("reads a clip"))
        present = [prepare_row(manifest, row, SPEC, None, cache).present for row in range(5)]
    assert [list(some[:2]) for some in present] == [[False, False]] * 4 + [[True, True]]
    assert decode_clips(manifest, SPEC, cache, ONE) == 0  # tried again, by workers that are whole
    assert cache.refusal(manifest.clip[0], "audio") is None


def test_a_cache_that_cannot_be_written_ends_the_work(corpus, cache, monkeypatch):
    monkeypatch.setattr(DecodingWorkload, "largest_file", 10)
    with pytest.raises(UsageError, match="cannot be written"):
        decode_clips(corpus("a.mp4"), SPEC, cache, ONE)


def test_workers_that_cannot_start_are_no_fault_of_the_clips(corpus, cache, monkeypatch):
    monkeypatch.setattr(pool, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(DataError, match="exit code 7"):
        decode_clips(corpus("a.mp4"), SPEC, cache, ONE)
    assert not cache.is_recorded(corpus("a.mp4").clip[0], "audio")


@pytest.mark.slow
def test_an_answer_that_is_none_is_a_loss(corpus, cache, monkeypatch):
    lie = "decoding.any = lambda _: 'yes'\n"
    monkeypatch.setattr(pool, "_PROGRAM", HOSTILE.replace("serve(sys", lie + "serve(sys"))
    assert decode_clips(corpus("a.mp4"), SPEC, cache, ONE) == 1


def test_a_clip_that_goes_away_is_missing(corpus, cache, monkeypatch, tmp_path):
    manifest = corpus("a.mp4")
    gone = HOSTILE.replace('case "hang.mp4"', 'case "a.mp4": os.unlink(path)\n        case "x"')
    monkeypatch.setattr(pool, "_PROGRAM", gone)
    assert decode_clips(manifest, SPEC, cache, ONE) == 1
    assert "No such file" in refusals(manifest, SPEC, cache)[manifest.clip[0]]


def test_a_clip_that_goes_away_at_once_is_missing(corpus, cache, monkeypatch, tmp_path):
    manifest = corpus("a.mp4", "b.mp4")
    monkeypatch.setattr(
        "mmperson.datasets.decoding.require_clips", lambda *_: (tmp_path / "a.mp4").unlink()
    )
    assert decode_clips(manifest, SPEC, cache, ONE) == 1
    assert list(refusals(manifest, SPEC, cache)) == [manifest.clip[0]]


def test_what_is_wrong_with_a_clip_is_no_fault_of_the_cache(corpus, cache, monkeypatch):
    lie = HOSTILE.replace('case "hang.mp4": time.sleep(600)', 'case "a.mp4": raise Odd("no sound")')
    lie = lie.replace("import json", "from mmperson.errors import UsageError as Odd\nimport json")
    monkeypatch.setattr(pool, "_PROGRAM", lie)
    manifest = corpus("a.mp4", "b.mp4")
    assert decode_clips(manifest, SPEC, cache, ONE) == 1
    assert "raised UsageError" in cache.refusal(manifest.clip[0], "audio")
    assert cache.is_final(manifest.clip[1], "audio")


def test_a_damaged_array_is_decoded_again(corpus, cache):
    manifest = corpus("a.mp4")
    assert decode_clips(manifest, SPEC, cache, ONE) == 0
    kept = {path: path.read_bytes() for path in cache.folder.glob("*.npy")}
    for path in kept:
        path.write_bytes(b"")
    assert decode_clips(manifest, SPEC, cache, ONE) == 0
    assert kept == {path: path.read_bytes() for path in cache.folder.glob("*.npy")}
    for path in kept:
        path.write_bytes(b"")
    assert prepare_row(manifest, 0, SPEC, None, cache).present[:2].all()
