from pathlib import Path

import pytest

from mmperson.errors import MediaTooLarge
from mmperson.media import AudioWindow, Clip, MediaLimits, read_clip
from tests.fixtures.media import write_clip


def read_all(path: Path, **limits: float) -> Clip:
    return read_clip(
        path,
        frames=4,
        audio=AudioWindow(16_000),
        limits=MediaLimits(**limits),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("limit", "allowed", "value"),
    [
        ("max_bytes", 1000, None),
        ("max_streams", 1, "2"),
        ("max_duration_s", 1.5, "2"),
        ("max_pixels", 64 * 48 - 1, "3072"),
        ("max_frames", 39, "40"),
        ("max_samples", 20_000, None),
        ("max_output_bytes", 4 * 64 * 48 * 3 - 1, "36864"),
    ],
)
def test_a_limit_names_value_limit_and_remedy(
    clip_mp4: Path, limit: str, allowed: float, value: str | None
) -> None:
    with pytest.raises(MediaTooLarge) as caught:
        read_all(clip_mp4, **{limit: allowed})
    message = str(caught.value)
    assert f"at most {allowed} are allowed" in message
    assert (value or str(clip_mp4.stat().st_size)) in message or limit == "max_samples"
    assert f"MediaLimits.{limit}" in message
    assert caught.value.clip == str(clip_mp4)


def test_a_clip_at_the_limits_is_read(clip_mp4: Path) -> None:
    clip = read_all(
        clip_mp4,
        max_bytes=clip_mp4.stat().st_size,
        max_streams=2,
        max_duration_s=2.05,
        max_pixels=64 * 48,
        max_frames=40,
        max_samples=90_000,
        max_output_bytes=4 * 64 * 48 * 3,
    )
    assert clip.warnings == ()


def test_an_undeclared_duration_is_measured(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "live.mkv", container="matroska", options={"live": "1"})
    assert read_all(path).info.duration_s == pytest.approx(2.0, abs=0.05)
    with pytest.raises(MediaTooLarge, match="lasts 2"):
        read_all(path, max_duration_s=1.0)


def test_pixels_are_checked_in_every_frame(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.ts", audio_codec=None)
    later_s = [2 + index / 20 for index in range(40)]
    large = write_clip(
        tmp_path / "large.ts", audio_codec=None, size=(128, 96), frame_times_s=later_s
    )
    path = tmp_path / "grows.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    clip = read_clip(path, frames=4, limits=MediaLimits(max_pixels=128 * 96))
    assert clip.frames is not None
    assert clip.frames.shape == (4, 48, 64, 3)  # all in the first frame's size
    # Beyond the limit the decoder does not even allocate the larger frames.
    clip = read_clip(path, frames=4, limits=MediaLimits(max_pixels=128 * 96 - 1))
    assert clip.frame_times_s is not None
    assert clip.frame_times_s.max() < 2.2
    assert "packets could not be decoded" in " ".join(clip.warnings)
