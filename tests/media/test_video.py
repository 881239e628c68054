from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmperson.errors import MediaTooLarge
from mmperson.media import read_clip
from mmperson.media.limits import MediaLimits
from mmperson.media.video import FramePicker, FrameStack, nearest_frames, plan_frames


def fake_frame(number: int, rotation: int = 0) -> SimpleNamespace:
    """A 3 x 2 frame whose top left corner is marked."""
    rgb = np.zeros((2, 3, 3), dtype=np.uint8)
    rgb[:] = number
    rgb[0, 0] = 255
    return SimpleNamespace(
        width=3,
        height=2,
        rotation=rotation,
        format=SimpleNamespace(name="rgb24"),
        to_ndarray=lambda format, width, height: rgb,
    )


def test_plan_is_the_centres_of_equal_parts() -> None:
    np.testing.assert_allclose(plan_frames(1.0, 5.0, 4), [1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(plan_frames(1.0, 5.0, 1), [3.0])
    assert plan_frames(5.0, 1.0, 0).shape == (0,)


@given(
    times=st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True).map(sorted),
    count=st.integers(1, 20),
)
def test_picks_are_the_nearest_frames(times: list[int], count: int) -> None:
    targets_s = plan_frames(times[0], times[-1] + 1, count)
    picker = FramePicker(targets_s, MediaLimits())
    for number, time in enumerate(times):
        picker.add(fake_frame(number), float(time))
        if picker.done:
            break
    picked = picker.finish()
    assert picked is not None
    frames, times_s = picked
    distances = np.abs(np.array(times)[None] - targets_s[:, None])
    nearest = distances.argmin(axis=1)  # of two as near, the first
    np.testing.assert_array_equal(times_s, np.array(times)[nearest])
    np.testing.assert_array_equal(np.asarray(frames)[:, 1, 1, 0], nearest)
    known = nearest_frames(np.array(times, dtype=np.float64), targets_s)
    np.testing.assert_array_equal(known, nearest)


def test_reading_may_stop_once_the_last_target_is_settled() -> None:
    picker = FramePicker(plan_frames(0.0, 10.0, 2), MediaLimits())  # 2.5 and 7.5
    for time in range(8):
        picker.add(fake_frame(time), float(time))
    assert not picker.done
    picker.add(fake_frame(8), 8.0)
    assert picker.done


def test_time_going_back_is_ignored() -> None:
    picker = FramePicker(plan_frames(0.0, 4.0, 2), MediaLimits())  # 1 and 3
    for number, time_s in enumerate([0.0, 1.0, 0.0, 3.0]):
        picker.add(fake_frame(number), time_s)
    picked = picker.finish()
    assert picked is not None
    np.testing.assert_array_equal(picked[1], [1.0, 3.0])


def test_no_frame_at_all() -> None:
    assert FramePicker(plan_frames(0.0, 4.0, 2), MediaLimits()).finish() is None


@pytest.mark.parametrize(
    ("rotation", "shape", "corner"),
    [
        (0, (2, 3), (0, 0)),
        (90, (3, 2), (2, 0)),  # counter-clockwise: the top left goes to the bottom left
        (-90, (3, 2), (0, 1)),
        (270, (3, 2), (0, 1)),
        (180, (2, 3), (1, 2)),
        (-91, (3, 2), (0, 1)),
    ],
)
def test_frames_are_turned_upright(
    rotation: int, shape: tuple[int, int], corner: tuple[int, int]
) -> None:
    picker = FramePicker(plan_frames(0.0, 1.0, 1), MediaLimits())
    picker.add(fake_frame(7, rotation), 0.5)
    picked = picker.finish()
    assert picked is not None
    (frame,) = picked[0]
    assert picked[0].shape == (1, *shape, 3)
    assert frame.shape == (*shape, 3)
    assert np.argwhere(frame[..., 0] == 255).tolist() == [list(corner)]


def test_too_many_frames() -> None:
    picker = FramePicker(plan_frames(0.0, 100.0, 1), MediaLimits(max_frames=3))
    for time in range(3):
        picker.add(fake_frame(time), float(time))
    with pytest.raises(MediaTooLarge, match="4 frames"):
        picker.add(fake_frame(3), 3.0)


def test_frames_that_are_larger_than_the_header_says_are_bounded() -> None:
    picker = FramePicker(plan_frames(0.0, 100.0, 4), MediaLimits(max_output_bytes=4 * 18 - 1))
    with pytest.raises(MediaTooLarge, match=r"72 bytes.* 71 "):
        picker.add(fake_frame(0), 0.0)


def yuv_frame(number: int, *, full_range: bool = False) -> av.VideoFrame:
    """A noisy 16 x 8 frame, as decoders return it."""
    rgb = np.random.default_rng(number).integers(0, 255, (8, 16, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
    frame.color_range = 2 if full_range else 1
    return frame


def rgb_of(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="rgb24", width=16, height=8)


@pytest.fixture
def stack() -> FrameStack:
    """Three pictures, the second shown twice."""
    picker = FramePicker(np.array([0.0, 1.0, 1.2, 2.0]), MediaLimits())
    for number in range(3):
        picker.add(yuv_frame(number), float(number))
    picked = picker.finish()
    assert picked is not None
    return picked[0]


def test_a_stack_reads_as_the_array(stack: FrameStack) -> None:
    array = np.stack([rgb_of(yuv_frame(number)) for number in (0, 1, 1, 2)])
    assert (len(stack), stack.shape, stack.ndim) == (4, array.shape, array.ndim)
    assert (stack.size, stack.dtype) == (array.size, array.dtype)
    np.testing.assert_array_equal(np.asarray(stack), array)
    np.testing.assert_array_equal(np.asarray(stack, dtype=np.float32), array)
    np.testing.assert_array_equal(np.stack(list(stack)), array)
    np.testing.assert_array_equal(stack[-1], array[-1])
    for chosen in (slice(1, 3), [3, 0], np.array([True, False, False, True])):
        np.testing.assert_array_equal(np.asarray(stack[chosen]), array[chosen])
    with pytest.raises(IndexError):
        stack[4]
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(stack, copy=False)


def test_frames_that_change_their_format_are_as_if_converted_at_once() -> None:
    frames = [yuv_frame(0), yuv_frame(1), yuv_frame(2, full_range=True), yuv_frame(3)]
    picker = FramePicker(np.arange(4.0), MediaLimits())
    for number, frame in enumerate(frames):
        picker.add(frame, float(number))
    picked = picker.finish()
    assert picked is not None
    for found, frame in zip(picked[0], frames, strict=True):
        np.testing.assert_array_equal(found, rgb_of(frame))


def test_chosen_frames_take_half_of_their_rgb(shared_data: Path) -> None:
    frames = read_clip(shared_data / "clips/talking/videoretalking_face1.mp4", frames=8).frames
    assert frames is not None
    assert frames.pictures.nbytes == frames.size // 2  # type: ignore[union-attr]


def test_frames_are_those_that_pyav_converts(shared_data: Path) -> None:
    for name in ("rotated90_metadata.mp4", "h263_8k.3gp", "torchcodec_testsrc2_av1_10bit.mp4"):
        path = shared_data / "clips/hard" / name
        clip = read_clip(path, frames=3, threads="none")
        assert clip.frames is not None
        assert clip.frame_times_s is not None
        with av.open(str(path)) as container:
            start_s = (container.start_time or 0) / av.time_base
            shown = {round(f.time - start_s, 4): f for f in container.decode(video=0)}
        for frame, time_s in zip(clip.frames, clip.frame_times_s, strict=True):
            expected = shown[round(time_s, 4)]
            rgb = expected.to_ndarray(format="rgb24")
            np.testing.assert_array_equal(frame, np.rot90(rgb, expected.rotation // 90))
