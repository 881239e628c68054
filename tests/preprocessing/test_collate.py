import numpy as np
import pytest

from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.collate import VIDEO_SHOWN, collate, deduplicate_frames
from mmperson.preprocessing.spec import ColumnSpec, FrameSpec, InputSpec, LogMelSpec, TextSpec

WORDS = InputSpec(text=TextSpec(tokenizer_sha256=""))


def test_text_is_padded_to_the_longest_and_masked():
    batch = collate([ClipInputs(text=np.array([5, 6, 7])), ClipInputs(text=np.array([8]))], WORDS)
    assert batch["text"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["text_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["present"].tolist() == [[0, 0, 1], [0, 0, 1]]


def test_what_is_absent_has_one_real_zero():
    batch = collate([ClipInputs(text=np.array([5, 6])), ClipInputs()], WORDS)
    assert batch["text"].tolist() == [[5, 6], [0, 0]]
    assert batch["text_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["present"][1].tolist() == [0, 0, 0]


def test_prompts_that_are_shorter_are_masked():
    spec = InputSpec(text=TextSpec(tokenizer_sha256="", prompts=("a", "b")))
    batch = collate([ClipInputs(text=np.array([[5, 6], [7, -1]]))], spec)
    assert batch["text"].tolist() == [[[5, 6], [7, 0]]]
    assert batch["text_mask"].tolist() == [[[1, 1], [1, 0]]]


def test_an_unknown_column_is_masked():
    spec = InputSpec(audio=ColumnSpec(columns=("pitch", "energy")))
    batch = collate([ClipInputs(audio=np.array([np.nan, 2], dtype=np.float32))], spec)
    assert batch["audio"].tolist() == [[0, 2]]
    assert batch["audio_mask"].tolist() == [[0, 1]]


@pytest.mark.parametrize("time", [1, 7])
def test_sound_has_the_size_of_its_window(time):
    spec = LogMelSpec(window_s=1.0, n_mels=8)
    heard = np.full((time, 8), -2, dtype=np.float32)
    batch = collate([ClipInputs(audio=heard)], InputSpec(audio=spec))
    assert batch["audio"].shape == (1, 101, 8)
    assert batch["audio_mask"].sum() == time
    np.testing.assert_array_equal(batch["audio"][0, :time], heard)


def test_frames_stay_bytes():
    spec = InputSpec(video=FrameSpec(count=2, short_side=16, height=16, width=16))
    frames = np.full((2, 3, 16, 16), 200, dtype=np.uint8)
    batch = collate([ClipInputs(video=frames), ClipInputs()], spec)
    assert batch["video"].dtype == np.uint8
    assert batch["video_mask"].tolist() == [[1, 1], [1, 0]]
    np.testing.assert_array_equal(batch["video"][0], frames)


def test_a_picture_that_is_shown_again_is_kept_once():
    levels = np.array([[7, 3, 7, 7], [5, 5, 5, 5], [1, 2, 3, 3]], dtype=np.uint8)
    frames = np.broadcast_to(levels[:, :, None, None, None], (3, 4, 3, 2, 2))
    found = deduplicate_frames({"video": frames})
    assert found["video"].dtype == np.uint8
    assert found["video"][:, :, 0, 0, 0].tolist() == [[7, 3, 0], [5, 0, 0], [1, 2, 3]]
    assert found[VIDEO_SHOWN].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 2, 2]]
    for pictures, shown, clip in zip(found["video"], found[VIDEO_SHOWN], frames, strict=True):
        np.testing.assert_array_equal(pictures[shown], clip)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((101, 8), True), ((1, 8), True), ((102, 8), False), ((0, 8), False), ((101, 9), False)],
)
def test_a_stored_array_fits_up_to_the_window(shape, fits):
    spec = LogMelSpec(window_s=1.0, n_mels=8)
    assert spec.fits(np.dtype(np.float32), shape) is fits
    assert not spec.fits(np.dtype(np.float64), shape)
    assert not spec.fits(np.dtype(np.float32), ())


def test_a_stored_array_of_fixed_size_fits_exactly():
    spec = ColumnSpec(columns=("pitch", "energy"))
    assert spec.fits(np.dtype(np.float32), (2,))
    assert not any(spec.fits(np.dtype(np.float32), shape) for shape in ((1,), (3,), (2, 1)))
