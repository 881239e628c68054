import numpy as np
import pytest

from mmperson.datasets import rows
from mmperson.datasets.cache import FeatureCache, save_array
from mmperson.datasets.rows import read_unchanged
from mmperson.errors import DataError
from mmperson.preprocessing.spec import (
    DescriptorSpec,
    FrameSpec,
    InputSpec,
    LibrosaSpec,
    LogMelSpec,
    ProsodySpec,
    WaveformSpec,
)
from tests.fixtures.media import write_clip

SPEC = InputSpec(audio=DescriptorSpec())


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "-clip.mp4"
    path.write_bytes(b"1")
    return path


def test_what_was_stored_comes_back(tmp_path, clip):
    array = np.arange(26, dtype=np.float32)
    FeatureCache(tmp_path / "cache", SPEC).store(clip, "audio", array)
    again = FeatureCache(tmp_path / "cache", SPEC)
    np.testing.assert_array_equal(again.load(clip, "audio"), array)
    assert again.load(clip, "video") is None


def test_what_is_missing_is_known_and_a_refusal_is_not_final(tmp_path, clip):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    assert not cache.is_recorded(clip, "audio")
    cache.store_missing(clip, "audio")
    assert cache.is_recorded(clip, "audio")
    assert cache.is_final(clip, "audio")
    assert cache.load(clip, "audio") is None
    cache.store_missing(clip, "audio", "It took longer than 1 s.")
    assert cache.refusal(clip, "audio") == "It took longer than 1 s."
    assert cache.is_recorded(clip, "audio")
    assert not cache.is_final(clip, "audio")
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    assert cache.is_final(clip, "audio")
    assert cache.refusal(clip, "audio") is None


def test_another_file_of_the_same_name_is_another_clip(tmp_path, clip):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    clip.write_bytes(b"12")
    assert cache.load(clip, "audio") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:60],
        lambda content: b"\0" * len(content),
        lambda content: content.replace(b"(26,)", b"(25,)"),
        lambda content: content.replace(b"<f4", b"<i4"),
        lambda content: content.replace(b"'", b"("),
        lambda content: content.replace(b"NUMPY", b"PK\3\4\0"),
    ],
)
def test_what_is_damaged_is_missing(tmp_path, clip, damage):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    (path,) = cache.folder.glob("*.npy")
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(clip, "audio") is None
    assert not cache.contains(clip, "audio")
    assert not cache.is_recorded(clip, "audio")
    assert not cache.is_final(clip, "audio")
    cache.store_missing(clip, "audio", "It took longer than 1 s.")
    assert cache.refusal(clip, "audio") == "It took longer than 1 s."
    cache.store(clip, "audio", np.ones(26, dtype=np.float32))
    assert cache.load(clip, "audio") is not None


@pytest.mark.parametrize(
    "array", [np.zeros(25, np.float32), np.zeros(26), np.zeros((1, 26), np.float32)]
)
def test_an_array_that_does_not_fit_is_missing(tmp_path, clip, array):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.store(clip, "audio", array)
    assert cache.load(clip, "audio") is None
    assert not cache.is_final(clip, "audio")


@pytest.mark.parametrize("duration_s", [1.0, 3.0])
@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(audio=DescriptorSpec(window_s=2.0)),
        InputSpec(audio=ProsodySpec(window_s=2.0)),
        InputSpec(audio=LogMelSpec(window_s=2.0)),
        InputSpec(audio=WaveformSpec(window_s=2.0)),
        InputSpec(audio=LibrosaSpec(features=("mfcc", "rms"), window_s=2.0)),
        InputSpec(audio=LibrosaSpec(features=("rms",), statistics=("mean",), window_s=2.0)),
        InputSpec(
            video=FrameSpec(views=("scene", "motion"), count=3, short_side=32, height=32, width=24)
        ),
    ],
)
def test_what_is_read_of_a_clip_fits(tmp_path, spec, duration_s):
    clip = str(write_clip(tmp_path / "clip.mp4", duration_s=duration_s))
    cache = FeatureCache(tmp_path / "cache", spec)
    identity, found, refusal = read_unchanged(clip, spec)
    cache.write(identity, found, refusal)
    for name, array in found.items():
        assert cache.is_final(clip, name)
        np.testing.assert_array_equal(cache.load(clip, name), array)
        (path,) = cache.folder.glob("*.npy")
        save_array(path, np.asfortranarray(array))
        np.testing.assert_array_equal(cache.load(clip, name), array)


def test_what_was_read_of_a_clip_that_was_replaced_is_not_kept(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "clip.mp4", duration_s=1.0)
    other = write_clip(tmp_path / "other.mp4", duration_s=1.5)
    cache = FeatureCache(tmp_path / "cache", SPEC)
    real = rows.read_clip

    def slow(path, **how):
        found = real(path, **how)
        other.replace(clip)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(rows, "read_clip", slow)
        cache.write(*read_unchanged(str(clip), SPEC))
    assert cache.load(clip, "audio") is None
    assert "was replaced" in cache.refusal(clip, "audio")
    assert not cache.is_final(clip, "audio")
    cache.write(*read_unchanged(str(clip), SPEC))
    expected, _ = rows.read_arrays(str(clip), SPEC)
    np.testing.assert_array_equal(cache.load(clip, "audio"), expected["audio"])


def test_a_clip_that_has_gone_is_refused_and_not_settled(tmp_path, clip):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    clip.unlink()
    assert cache.load(clip, "audio") is None
    assert not cache.is_recorded(clip, "audio")
    assert not cache.is_final(clip, "audio")
    assert cache.refusal(clip, "audio").endswith("No such file or directory.")


def test_a_cache_of_another_spec_is_refused(tmp_path):
    FeatureCache(tmp_path / "cache", SPEC)
    other = InputSpec(audio=DescriptorSpec(window_s=5.0))
    with pytest.raises(DataError, match="was made for input spec"):
        FeatureCache(tmp_path / "cache", other)


def test_no_half_written_file_is_left(tmp_path, clip):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    assert sorted(p.suffix for p in cache.folder.iterdir()) == [".npy", ".sha256"]
