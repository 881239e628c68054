from pathlib import Path

import av
import numpy as np
import pytest

from mmperson.datasets import check_manifest, read_manifest
from mmperson.datasets.synthetic import LOWEST_PITCH_HZ, SIGNALS, make_synthetic
from mmperson.datasets.synthetic_media import FPS, SECONDS, SOUND_RATE_HZ, read_footage, write_clip
from mmperson.errors import UsageError
from mmperson.media import AudioWindow, read_clip
from mmperson.traits import TRAITS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    make_synthetic(folder, clips=12, seed=1)
    return read_manifest(folder / "manifest.parquet")


@pytest.fixture(scope="module")
def clips(corpus):
    return [read_clip(clip, frames=4, audio=AudioWindow(SOUND_RATE_HZ)) for clip in corpus.clip]


def test_nothing_is_wrong_with_it(corpus):
    assert not check_manifest(corpus, probe=True).errors


def test_footage_is_on_one_side_of_a_split(corpus):
    for split in ("train", "validation", "test"):
        others = corpus.source_id[corpus.split != split]
        assert not np.isin(corpus.source_id[corpus.split == split], others).any()
        assert (corpus.split == split).any()


def test_a_trait_is_a_line_through_its_signal(corpus):
    for index, (name, (low, high)) in enumerate(SIGNALS.items()):
        expected = (corpus.extras[name] - low) / (high - low)
        np.testing.assert_allclose(corpus.targets[:, index], expected, err_msg=TRAITS[index])


def test_no_label_sticks_at_an_end(corpus):
    assert ((corpus.targets > 0.01) & (corpus.targets < 0.99)).all()
    assert (corpus.targets.std(axis=0) > 0.15).all()


def test_light_and_motion_are_in_the_frames(corpus, clips):
    frames = [np.asarray(clip.frames, dtype=float) for clip in clips]
    light = [f.mean() for f in frames]
    blocks = [f.reshape(4, 30, 4, 30, 4, 3).mean(axis=(2, 4)) for f in frames]
    motion = [np.abs(np.diff(b, axis=0)).mean() for b in blocks]
    np.testing.assert_allclose(light, corpus.extras["brightness"], atol=2)
    np.testing.assert_allclose(motion, corpus.extras["motion"], atol=0.5)


def test_level_and_pitch_are_in_the_sound(corpus, clips):
    for clip, level_db, octaves in zip(
        clips, corpus.extras["level_db"], corpus.extras["pitch_octaves"], strict=True
    ):
        sound = clip.waveform[: 2 * SOUND_RATE_HZ]
        assert 10 * np.log10(np.mean(sound**2)) == pytest.approx(level_db, abs=1)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        hertz = LOWEST_PITCH_HZ * 2**octaves * len(sound) / SOUND_RATE_HZ
        near = spectrum[round(hertz) - 4 : round(hertz) + 5].max()
        assert near > 20 * np.median(spectrum[: round(3 * hertz)])


def test_words_are_in_the_transcript(corpus):
    ideas = [sum(w in {"idea", "theory", "poem", "dream", "music", "wonder", "novel", "art",
                       "concept", "vision", "story", "meaning"} for w in text.split())
             for text in corpus.transcript]  # fmt: skip
    np.testing.assert_allclose(np.array(ideas) / 24, corpus.extras["words"])


@pytest.mark.slow
def test_it_follows_from_its_seed(tmp_path, corpus):
    again = make_synthetic(tmp_path, clips=12, seed=1)
    np.testing.assert_array_equal(again.targets, corpus.targets)
    for mine, other in zip(again.clip, corpus.clip, strict=True):
        assert Path(mine).read_bytes() == Path(other).read_bytes()
    assert again.transcript == corpus.transcript
    other = make_synthetic(tmp_path / "other", clips=12, seed=2)
    assert (other.targets != corpus.targets).any()


@pytest.mark.slow
def test_footage_is_taken_from_a_folder(shared_data, tmp_path):
    made = make_synthetic(tmp_path, clips=10, footage=shared_data / "clips" / "talking")
    assert len(set(made.source_id)) >= 5


def write_video(path, frames):
    hum = 0.1 * np.sin(np.arange(round(SECONDS * SOUND_RATE_HZ)) / 20)
    write_clip(path, frames, hum.astype(np.float32))


@pytest.fixture
def videos(tmp_path):
    """Fourteen noisy videos, a black one, a link to one of them, and a file that is no video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (14, 6, 8, 3)).astype(np.uint8)
    for number, picture in enumerate(np.kron(noise, np.ones((1, 8, 8, 1), np.uint8))):
        write_video(folder / f"{number:02d}.mp4", np.repeat(picture[None], FPS, axis=0))
    write_video(folder / "black.mp4", np.zeros((FPS, 48, 64, 3), np.uint8))
    (folder / "link.mp4").symlink_to(folder / "00.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def test_only_videos_that_show_something_are_read_and_each_once(videos):
    found = read_footage(videos, 100, np.random.default_rng(0))
    assert sorted(footage.name for footage in found) == [f"{n:02d}.mp4" for n in range(14)]


@pytest.mark.slow
def test_fewer_clips_than_videos_still_fill_every_split(videos, tmp_path):
    for seed in (3, 11):  # Dealt before the videos are chosen, one split would stay empty.
        made = make_synthetic(tmp_path / "out", clips=10, footage=videos, seed=seed)
        assert {*made.split} == {"train", "validation", "test"}


def test_without_x264_another_encoder_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4", "aac"})
    frames = np.full((24, 48, 64, 3), 90, np.uint8)
    write_video(tmp_path / "clip.mp4", frames)
    clip = read_clip(tmp_path / "clip.mp4", frames=4)
    assert clip.info.video.codec == "mpeg4"
    np.testing.assert_allclose(np.asarray(clip.frames).mean(), 90, atol=2)


def test_too_little_footage_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has 0 videos"):
        make_synthetic(tmp_path / "out", footage=tmp_path / "empty")
    with pytest.raises(UsageError, match="at least 10 clips"):
        make_synthetic(tmp_path / "out", clips=3)
