from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmperson.errors import MediaTooLarge
from mmperson.media.limits import MediaLimits
from mmperson.media.video import FramePicker, halve, nearest_frames, plan_frames


def fake_frame(number: int, rotation: int = 0) -> SimpleNamespace:
    """A 3 x 2 frame whose top left corner is marked."""
    rgb = np.zeros((2, 3, 3), dtype=np.uint8)
    rgb[:] = number
    rgb[0, 0] = 255
    return SimpleNamespace(
        width=3, height=2, rotation=rotation, to_ndarray=lambda format, width, height: rgb
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
    np.testing.assert_array_equal(frames[:, 1, 1, 0], nearest)
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


@pytest.mark.parametrize(
    ("size", "ratio", "halved", "times"),
    [
        ((720, 1280), 3.9, (720, 1280), 1),
        ((720, 1280), 4.0, (360, 640), 2),
        ((720, 1280), 8.0, (180, 320), 4),
        ((33, 35), 15.0, (8, 8), 4),
        ((1, 9), 100.0, (1, 9), 1),
        ((9, 2), 100.0, (4, 1), 2),
    ],
)
def test_halving_leaves_more_than_is_needed(
    size: tuple[int, int], ratio: float, halved: tuple[int, int], times: int
) -> None:
    picture = np.full((*size, 3), 77, dtype=np.uint8)
    small, by = halve(picture, ratio)
    assert (small.shape, by) == ((*halved, 3), times)
    assert (small == 77).all()


def test_halving_averages() -> None:
    picture = np.zeros((2, 4, 3), dtype=np.uint8)
    picture[0, 0], picture[:, 2:] = 100, 40
    small, by = halve(picture, 4.0)
    assert by == 2
    assert small[0, :, 0].tolist() == [25, 40]
