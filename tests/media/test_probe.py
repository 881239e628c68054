from pathlib import Path

import av
import pytest

from mmperson.media import MediaLimits, probe_clip, read_clip
from tests.fixtures.media import write_clip


def test_what_a_clip_is(clip_mp4: Path) -> None:
    info = probe_clip(clip_mp4)
    assert info.path == clip_mp4
    assert info.container.startswith("mov,mp4")
    assert info.duration_s == pytest.approx(2.0, abs=0.05)
    assert info.size_bytes == clip_mp4.stat().st_size
    assert info.video is not None
    assert (info.video.codec, info.video.width, info.video.height) == ("h264", 64, 48)
    assert (info.video.rotation_deg, info.video.frames) == (0, 40)
    assert info.video.fps == pytest.approx(20.0)
    assert info.audio is not None
    assert (info.audio.codec, info.audio.sample_rate_hz, info.audio.channels) == ("aac", 44_100, 1)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_size_is_as_shown(tmp_path: Path, clip_mp4: Path, rotation: int) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(clip_mp4)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(rotation)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    size = (48, 64) if rotation % 180 else (64, 48)
    video = probe_clip(path).video
    assert video is not None
    assert (video.width, video.height, video.rotation_deg) == (*size, rotation)
    clip = read_clip(path, frames=1)
    assert clip.frames is not None
    assert clip.frames.shape[1:3] == size[::-1]
    assert clip.info.video == video
    # Without decoding, nothing is known of a rotation: the size is as stored.
    stored = read_clip(path).info.video
    assert stored is not None
    assert (stored.width, stored.height, stored.rotation_deg) == (64, 48, None)


def test_undeclared_numbers_are_none(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "live.mkv", container="matroska", options={"live": "1"}, audio_codec=None
    )
    info = probe_clip(path, MediaLimits())
    assert info.duration_s is None
    assert info.audio is None
    assert info.video is not None
    assert (info.video.frames, info.video.duration_s) == (None, None)
