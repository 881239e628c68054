import cv2
import numpy as np
import pytest

from mmperson.errors import UsageError
from mmperson.media import read_clip
from mmperson.preprocessing import FrameSpec, prepare_frames
from mmperson.preprocessing.video.frames import difference_frames, halve

SMALL = FrameSpec(count=1, short_side=32, height=24, width=24, mean=(0, 0, 0), std=(1, 1, 1))


def gradient(height, width):
    """Red grows to the right, green downwards, blue is constant; one frame."""
    frame = np.zeros((1, height, width, 3), dtype=np.uint8)
    frame[..., 0] = np.linspace(0, 255, width)
    frame[..., 1] = np.linspace(0, 255, height)[:, np.newaxis]
    frame[..., 2] = 100
    return frame


def test_real_frame_agrees_with_torchvision(first_impressions):
    torch = pytest.importorskip("torch", reason="torchvision is the reference")
    transforms = pytest.importorskip("torchvision.transforms.v2", reason="it is the reference")
    frames = read_clip(first_impressions / "clips/-AmMDnVl4s8.003.mp4", frames=2).frames
    spec = FrameSpec(count=2)
    reference = transforms.Compose(
        [
            transforms.Resize(spec.short_side, antialias=True),
            transforms.CenterCrop((spec.height, spec.width)),
            transforms.ToDtype(torch.float32, scale=False),
        ]
    )
    expected = reference(torch.from_numpy(np.asarray(frames)).permute(0, 3, 1, 2)).numpy()
    error = np.abs(prepare_frames(frames, spec) - expected)
    # Area averages here, an antialiasing triangle there: alike on the whole, not at sharp edges.
    assert error.mean() <= 1.5
    assert np.quantile(error, 0.999) <= 25


def test_geometry_without_resizing_is_that_of_torchvision():
    torch = pytest.importorskip("torch", reason="torchvision is the reference")
    functional = pytest.importorskip("torchvision.transforms.v2.functional", reason="see above")
    frames = np.random.default_rng(0).integers(0, 256, (1, 32, 57, 3), dtype=np.uint8)
    expected = functional.center_crop(
        torch.from_numpy(np.asarray(frames)).permute(0, 3, 1, 2), [24, 24]
    )
    prepared = prepare_frames(frames, SMALL)
    np.testing.assert_array_equal(prepared, expected.numpy())


@pytest.mark.parametrize("size", [(240, 426), (426, 240), (16, 28), (32, 32), (5, 5), (1, 300)])
def test_shape_layout_and_centre(size):
    prepared = prepare_frames(gradient(*size), SMALL)
    assert prepared.shape == (1, 3, 24, 24)
    assert prepared.dtype == np.uint8
    assert prepared.flags.c_contiguous
    red, green, blue = prepared[0]
    np.testing.assert_allclose(blue, 100, atol=1)
    if min(size) > 1:
        # The middle of the picture stays in the middle, half way up both gradients.
        assert red.mean() / 255 == pytest.approx(0.5, abs=0.02)
        assert green.mean() / 255 == pytest.approx(0.5, abs=0.02)


def test_a_ribbon_does_not_fill_the_memory():
    ribbon = np.zeros((1, 2, 60_000, 3), dtype=np.uint8)
    assert prepare_frames(ribbon, SMALL).shape == (1, 3, 24, 24)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 64, 64, 3), dtype=np.uint8),
        np.zeros((1, 64, 64, 4), dtype=np.uint8),
        np.zeros((1, 64, 64, 3), dtype=np.float32),
        np.zeros((1, 0, 64, 3), dtype=np.uint8),
        np.zeros((64, 64, 3), dtype=np.uint8),
    ],
)
def test_other_arrays_are_refused(frames):
    with pytest.raises(UsageError, match=r"uint8.*\(frame, height, width, 3\)"):
        prepare_frames(frames, SMALL)


def test_halving_first_changes_little():
    # Large enough to be halved twice, and as smooth as pictures are.
    noise = np.random.default_rng(0).normal(128, 60, (1, 45, 80, 3)).clip(0, 255).astype(np.uint8)
    frames = cv2.resize(noise[0], (1280, 720), interpolation=cv2.INTER_CUBIC)[np.newaxis]
    spec = FrameSpec(count=1, short_side=112, height=112, width=112)
    whole = cv2.resize(frames[0], (199, 112), interpolation=cv2.INTER_AREA)[:, 44:156]
    error = np.abs(prepare_frames(frames, spec)[0].transpose(1, 2, 0).astype(int) - whole)
    assert error.mean() < 1
    assert error.max() <= 8


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
def test_halving_leaves_more_than_is_needed(size, ratio, halved, times):
    picture = np.full((*size, 3), 77, dtype=np.uint8)
    small, by = halve(picture, ratio)
    assert (small.shape, by) == ((*halved, 3), times)
    assert (small == 77).all()


def test_halving_averages():
    picture = np.zeros((2, 4, 3), dtype=np.uint8)
    picture[0, 0], picture[:, 2:] = 100, 40
    small, by = halve(picture, 4.0)
    assert by == 2
    assert small[0, :, 0].tolist() == [25, 40]


def test_differences_are_absolute_and_the_last_counts_twice():
    prepared = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    change = np.abs(np.diff(prepared.astype(int), axis=0))
    np.testing.assert_array_equal(
        difference_frames(prepared), np.concatenate([change, change[-1:]])
    )


def test_one_frame_has_no_motion_and_two_have_that_between_them():
    pair = np.zeros((2, 3, 4, 4), np.uint8)
    pair[1] = 7
    still = difference_frames(pair[:1])
    assert still.shape == (1, 3, 4, 4)
    assert not still.any()
    assert difference_frames(pair).max() == 7
