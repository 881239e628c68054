from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmperson.errors import UnknownComponent
from mmperson.media import AudioWindow, Clip, Decode, Span, read_clip, read_windows
from mmperson.media import read as read_module
from mmperson.media.decode import StreamDecoder, Threads
from tests.fixtures.media import grey_of

STREAMS: dict[str, Mapping[str, str]] = {
    "b-frames": {"x264-params": "bframes=3:keyint=15:scenecut=0"},
    "open-gop": {"x264-params": "bframes=3:keyint=10:open-gop=1:scenecut=0"},
    "one-keyframe": {"x264-params": "bframes=2:keyint=1000:scenecut=0"},
    "intra-refresh": {"x264-params": "intra-refresh=1:keyint=15"},
}


def write_stream(path: Path, x264: Mapping[str, str], times_s: list[float] | None = None) -> Path:
    """Write greys under given options of the encoder, without sound."""
    times_s = times_s or [index / 20 for index in range(50)]
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=20)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"crf": "8", "preset": "medium", **x264}
        video.codec_context.time_base = Fraction(1, 1000)
        for index, time_s in enumerate(times_s):
            rgb = np.full((48, 64, 3), grey_of(index), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    return {
        f"{name}{suffix}": write_stream(folder / f"{name}{suffix}", options)
        for name, options in STREAMS.items()
        for suffix in (".mp4", ".mkv", ".ts")
    }


def levels(clip: Clip) -> list[float]:
    assert clip.frames is not None
    return np.asarray(clip.frames).mean(axis=(1, 2, 3)).tolist()


NAMES = [f"{name}{suffix}" for name in STREAMS for suffix in (".mp4", ".mkv", ".ts")]


@pytest.mark.parametrize("threads", ["none", "frame"])
@pytest.mark.parametrize("name", NAMES)
def test_frames_that_no_chosen_one_needs_are_left_out_of_exact_decoding(
    streams: dict[str, Path], name: str, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> list[Clip]:
        windows = read_windows(streams[name], 1.0, frames=2, threads=threads)
        return [read_clip(streams[name], frames=3, threads=threads), *windows]

    spared = read()
    monkeypatch.setattr(read_module, "SKIPPING_CODECS", frozenset())
    for clip, whole in zip(spared, read(), strict=True):
        np.testing.assert_array_equal(clip.frames, whole.frames)
        np.testing.assert_array_equal(clip.frame_times_s, whole.frame_times_s)
        assert clip.warnings == whole.warnings


def test_most_frames_that_none_refers_to_are_not_decoded(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Seen(StreamDecoder):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.append(self)

    monkeypatch.setattr(read_module, "StreamDecoder", Seen)
    read_clip(streams["b-frames.mp4"], frames=2, threads="none")
    monkeypatch.setattr(read_module, "SKIPPING_CODECS", frozenset())
    read_clip(streams["b-frames.mp4"], frames=2, threads="none")
    spared, every = (decoder.decoded for decoder in seen)
    assert spared < 0.7 * every


@pytest.mark.parametrize("profile", ["fast", "key"])
@pytest.mark.parametrize("name", NAMES)
def test_fewer_frames_are_shown_at_their_own_times(
    streams: dict[str, Path], name: str, profile: Decode
) -> None:
    clip = read_clip(streams[name], frames=10, decode=profile)
    assert clip.frame_times_s is not None
    # What is shown at a time is what every-frame decoding shows then.
    shown = [grey_of(round(20 * time_s)) for time_s in clip.frame_times_s]
    np.testing.assert_allclose(levels(clip), shown, atol=2)
    off_ms = 1e3 * np.abs(clip.frame_times_s - (np.arange(10) + 0.5) * 0.25).max()
    warned = next(warning for warning in clip.warnings if f"profile '{profile}'" in warning)
    assert f"is {off_ms:.0f} ms from" in warned


@pytest.mark.parametrize("name", ["b-frames.mp4", "b-frames.mkv", "open-gop.mp4", "open-gop.ts"])
def test_keyframes_only_are_the_nearest_keyframes(streams: dict[str, Path], name: str) -> None:
    with av.open(str(streams[name])) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.is_keyframe]
        base = container.streams.video[0].time_base
        start_s = container.start_time / av.time_base
    keys_s = np.array([float(key * base) - start_s for key in keys])
    clip = read_clip(streams[name], frames=10, decode="key")
    targets_s = (np.arange(10) + 0.5) * 0.25
    nearest = keys_s[np.abs(keys_s - targets_s[:, None]).round(6).argmin(axis=1)]
    assert clip.frame_times_s is not None
    np.testing.assert_allclose(clip.frame_times_s, nearest, atol=1e-3)


def test_one_keyframe_is_said_to_be_one(streams: dict[str, Path]) -> None:
    clip = read_clip(streams["one-keyframe.mp4"], frames=10, decode="key")
    assert clip.frame_times_s is not None
    assert np.unique(clip.frame_times_s).tolist() == [0.0]
    assert clip.warnings == (
        "The video was decoded with the profile 'key': the farthest frame is 2375 ms from its "
        "planned time.",
        "Of the 10 requested frames, 1 are distinct: the nearest repeat.",
    )


def test_reference_frames_are_near_the_plan(streams: dict[str, Path]) -> None:
    clip = read_clip(streams["b-frames.mp4"], frames=10, decode="fast")
    assert clip.frame_times_s is not None
    exact = read_clip(streams["b-frames.mp4"], frames=10).frame_times_s
    assert np.abs(clip.frame_times_s - exact).max() < 0.15
    assert len(np.unique(clip.frame_times_s)) == 10


def test_a_variable_frame_rate_is_sampled_by_time_under_every_profile(tmp_path: Path) -> None:
    shown_s = [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1.0, 1.1, 1.9, 2.0]
    intra = {"x264-params": "keyint=1"}  # nothing can be left out
    path = write_stream(tmp_path / "vfr.mp4", intra, shown_s)
    exact = read_clip(path, frames=4).frame_times_s
    for profile in ("fast", "key"):
        np.testing.assert_array_equal(
            read_clip(path, frames=4, decode=profile).frame_times_s,  # type: ignore[arg-type]
            exact,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_late_span_is_decoded_from_its_keyframe(streams: dict[str, Path], name: str) -> None:
    clip = read_clip(streams[name], frames=4, span=Span(1.3, 2.1))
    assert clip.frame_times_s is not None
    np.testing.assert_allclose(clip.frame_times_s, [1.4, 1.6, 1.8, 2.0], atol=2e-3)
    np.testing.assert_allclose(levels(clip), [grey_of(i) for i in (28, 32, 36, 40)], atol=2)
    assert clip.warnings == ()


@pytest.mark.parametrize("profile", ["exact", "fast", "key"])
def test_rotation_does_not_depend_on_the_profile(shared_data: Path, profile: Decode) -> None:
    path = shared_data / "clips" / "hard" / "rotated90_metadata.mp4"
    clip = read_clip(path, frames=1, decode=profile)
    assert clip.info.video is not None
    assert clip.info.video.rotation_deg == 90


@pytest.mark.parametrize("profile", ["exact", "fast", "key"])
def test_sound_alone_says_nothing_of_the_profile(clip_mp4: Path, profile: Decode) -> None:
    clip = read_clip(clip_mp4, audio=AudioWindow(16_000), decode=profile)
    assert clip.warnings == ()


def test_an_unknown_profile_is_named(clip_mp4: Path) -> None:
    with pytest.raises(UnknownComponent, match="there are exact, fast, key"):
        read_clip(clip_mp4, frames=1, decode="fsat")  # type: ignore[arg-type]
