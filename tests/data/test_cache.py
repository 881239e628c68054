import numpy as np
import pytest

from mmperson.data.cache import FeatureCache
from mmperson.errors import DataError
from mmperson.inputs.spec import DescriptorSpec, InputSpec

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
    assert not cache.knows(clip, "audio")
    cache.miss(clip, "audio")
    assert cache.knows(clip, "audio")
    assert cache.is_settled(clip, "audio")
    assert cache.load(clip, "audio") is None
    cache.miss(clip, "audio", "It took longer than 1 s.")
    assert cache.refusal(clip, "audio") == "It took longer than 1 s."
    assert cache.knows(clip, "audio")
    assert not cache.is_settled(clip, "audio")
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    assert cache.is_settled(clip, "audio")
    assert cache.refusal(clip, "audio") is None


def test_another_file_of_the_same_name_is_another_clip(tmp_path, clip):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    clip.write_bytes(b"12")
    assert cache.load(clip, "audio") is None


def test_a_cache_of_another_spec_is_refused(tmp_path):
    FeatureCache(tmp_path / "cache", SPEC)
    other = InputSpec(audio=DescriptorSpec(window_s=5.0))
    with pytest.raises(DataError, match="was made for input spec"):
        FeatureCache(tmp_path / "cache", other)


def test_no_half_written_file_is_left(tmp_path, clip):
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.store(clip, "audio", np.zeros(26, dtype=np.float32))
    assert sorted(p.suffix for p in cache.folder.iterdir()) == [".npy", ".sha256"]
