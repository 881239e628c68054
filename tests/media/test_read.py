import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmperson.errors import EmptyMedia, MediaError, UnreadableMedia, UsageError
from mmperson.media import AudioWindow, find_transcript, read_clip, read_transcript
from mmperson.media import read as read_module
from mmperson.media.decode import StreamDecoder, Threads
from tests.fixtures.media import index_of, write_clip

WINDOW = AudioWindow(22_050, duration_s=7.0)


@pytest.mark.parametrize("threads", ["auto", "frame", "slice", "none"])
@pytest.mark.parametrize("count", [1, 4, 7, 40])
def test_frames_are_those_nearest_to_the_centres(
    clip_mp4: Path, count: int, threads: Threads
) -> None:
    clip = read_clip(clip_mp4, frames=count, threads=threads)
    shown_s = np.arange(40) / 20
    centres_s = (np.arange(count) + 0.5) * 2.0 / count
    distances = np.abs(shown_s - centres_s[:, None])
    nearest = distances.round(6).argmin(axis=1)  # of two as near, the earlier
    assert clip.frames is not None
    assert clip.frames.dtype == np.uint8
    assert clip.frames.shape == (count, 48, 64, 3)
    assert [index_of(frame) for frame in clip.frames] == nearest.tolist()
    assert clip.frame_times_s is not None
    np.testing.assert_allclose(clip.frame_times_s, shown_s[nearest], atol=1e-3)
    assert clip.warnings == ()


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_a_variable_frame_rate_is_sampled_by_time(tmp_path: Path, name: str) -> None:
    shown_s = np.array([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1.0, 1.1, 1.9, 2.0])
    path = write_clip(tmp_path / name, frame_times_s=shown_s.tolist(), audio_codec=None)
    clip = read_clip(path, frames=4)
    centres_s = (np.arange(4) + 0.5) * 2.2 / 4  # the last frame lasts the mean gap, 0.2 s
    nearest = np.abs(shown_s - centres_s[:, None]).round(6).argmin(axis=1)
    assert clip.frames is not None
    assert [index_of(frame) for frame in clip.frames] == nearest.tolist()


@pytest.mark.parametrize("options", [{"live": "1"}, {}])
def test_an_undeclared_length_makes_no_difference(tmp_path: Path, options: dict[str, str]) -> None:
    path = write_clip(tmp_path / "clip.mkv", container="matroska", options=options)
    clip = read_clip(path, frames=5)
    assert clip.frames is not None
    assert [index_of(frame) for frame in clip.frames] == [4, 12, 20, 28, 36]
    assert clip.info.duration_s == pytest.approx(2.0, abs=0.05)


def test_a_wrongly_declared_length_makes_no_difference(clip_mp4: Path, tmp_path: Path) -> None:
    content = clip_mp4.read_bytes()
    at = content.index(b"mvhd") + 4
    assert int.from_bytes(content[at + 16 : at + 20]) == 2000  # milliseconds
    path = tmp_path / "boast.mp4"
    path.write_bytes(content[: at + 16] + (1_000_000).to_bytes(4) + content[at + 20 :])
    clip = read_clip(path, frames=5)
    assert clip.frames is not None
    assert [index_of(frame) for frame in clip.frames] == [4, 12, 20, 28, 36]


def test_fewer_frames_than_asked_for_repeat(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frame_times_s=[0.0, 0.05, 0.1], audio_codec=None)
    clip = read_clip(path, frames=6)
    assert clip.frames is not None
    assert [index_of(frame) for frame in clip.frames] == [0, 1, 1, 2, 2, 2]
    (warning,) = clip.warnings
    assert re.search(r"\b6 requested frames.*\b3 ", warning)


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> list[StreamDecoder]:
    """Collect the decoders of every decoding, to count what was decoded."""
    seen: list[StreamDecoder] = []
    real = read_module.decode

    def spy(
        container: Any, decoders: Sequence[StreamDecoder], *rest: Any, **named: Any
    ) -> Iterator[None]:
        seen.extend(decoders)
        return real(container, decoders, *rest, **named)

    monkeypatch.setattr(read_module, "decode", spy)
    return seen


def test_audio_alone_decodes_no_video_and_stops_early(
    clip_mp4: Path, decoders: list[StreamDecoder]
) -> None:
    read_clip(clip_mp4, audio=AudioWindow(22_050, duration_s=0.5))
    (decoder,) = decoders
    assert decoder.kind == "audio"
    assert decoder.fed == pytest.approx(0.5 * 44_100 / 1024, abs=3)


def test_frames_alone_decode_no_audio(clip_mp4: Path, decoders: list[StreamDecoder]) -> None:
    read_clip(clip_mp4, frames=4)
    assert [decoder.kind for decoder in decoders] == ["video"]


def test_a_late_window_skips_what_comes_before(
    heavy_mp4: Path, decoders: list[StreamDecoder]
) -> None:
    clip = read_clip(heavy_mp4, audio=AudioWindow(22_050, start_s=3.0, duration_s=0.5))
    assert clip.waveform_start_s == pytest.approx(3.0)
    assert decoders[0].skipped > 2.0 * 44_100 / 1024
    everything = read_clip(heavy_mp4, audio=AudioWindow(44_100)).waveform
    late = read_clip(heavy_mp4, audio=AudioWindow(44_100, start_s=3.0, duration_s=0.5)).waveform
    assert everything is not None
    assert late is not None
    np.testing.assert_allclose(late, everything[3 * 44_100 :][: late.size], atol=1e-5)


def test_one_pass_gives_both_and_the_same_as_alone(clip_mp4: Path) -> None:
    both = read_clip(clip_mp4, frames=4, audio=WINDOW)
    frames = read_clip(clip_mp4, frames=4).frames
    waveform = read_clip(clip_mp4, audio=WINDOW).waveform
    np.testing.assert_array_equal(both.frames, frames)  # type: ignore[arg-type]
    np.testing.assert_array_equal(both.waveform, waveform)  # type: ignore[arg-type]


def test_nothing_wanted_gives_the_description(clip_mp4: Path) -> None:
    clip = read_clip(clip_mp4)
    assert (clip.frames, clip.waveform, clip.warnings) == (None, None, ())
    assert clip.info.duration_s == pytest.approx(2.0, abs=0.05)


def test_a_negative_number_of_frames_is_the_callers_error(clip_mp4: Path) -> None:
    with pytest.raises(UsageError, match="-1"):
        read_clip(clip_mp4, frames=-1)


@given(damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=16)), max_size=12))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_gives_a_clip_or_a_typed_error(
    clip_mp4: Path, tmp_path: Path, damage: list[tuple[float, bytes]]
) -> None:
    content = bytearray(clip_mp4.read_bytes())
    for where, what in damage:
        at = int(where * len(content))
        content[at : at + len(what)] = what
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    try:
        clip = read_clip(path, frames=3, audio=WINDOW, threads="none")
    except MediaError:
        return
    assert clip.frames is not None or clip.waveform is not None


@dataclass(frozen=True)
class Expected:
    """What a real file must give: length, upright size, seconds of audio, warning."""

    duration_s: float
    size: tuple[int, int] | None = None
    audio_s: float | None = None
    warning: str | None = None


NO_AUDIO, NO_VIDEO = "The clip has no audio.", "The clip has no video."
HARD: dict[str, Expected | type[MediaError]] = {
    "audio_only.m4a": Expected(4.9, None, 4.9, NO_VIDEO),
    "audio_only.wav": Expected(4.9, None, 4.9, NO_VIDEO),
    "h263_8k.3gp": Expected(5.0, (176, 144), 5.0),
    "hevc_aac.mkv": Expected(4.9, (524, 524), 4.9),
    "long_75s_loop.mp4": Expected(74.5, (360, 288), 7.0),
    "moviepy_no_duration.webm": Expected(4.9, (1280, 720), 4.9),
    "moviepy_video_with_failing_audio.mp4": Expected(11.2, (640, 360), 7.0),
    "name with spaces & 'quotes' ünïcode.mp4": Expected(4.9, (524, 524), 4.9),
    "no_audio.mp4": Expected(4.9, (524, 524), None, NO_AUDIO),
    "one_frame.mp4": Expected(0.0, (524, 524), None, NO_AUDIO),
    "pyfeat_face_noface.mov": Expected(6.4, (960, 540), 4.0),  # its audio starts at 2.4 s
    "pyfeat_no_face.mp4": Expected(3.9, (960, 540), 4.0),
    "random_bytes.mp4": UnreadableMedia,
    "rotated90_metadata.mp4": Expected(4.9, (524, 524), 4.9),
    "short_0.4s.mp4": Expected(0.4, (524, 524), 0.4),
    "silent_audio.mp4": Expected(4.9, (524, 524), 4.9),
    "streamio_empty.flv": UnreadableMedia,
    "streamio_sideways_movie.mov": Expected(1.0, (480, 640), 1.0),
    "tiny_64px.mp4": Expected(4.9, (64, 64), 4.9),
    "torchcodec_odd_size_vp9.mp4": Expected(1.0, (321, 241), None, NO_AUDIO),
    "torchcodec_testsrc2_av1_10bit.mp4": Expected(1.0, (320, 240), None, NO_AUDIO),
    "truncated.mp4": UnreadableMedia,  # its index would have come last
    "two_faces_hstack.mp4": Expected(6.6, (960, 480), 4.9),
    "vfr.mp4": Expected(4.9, (524, 524), 4.9),
    "zero_bytes.mp4": EmptyMedia,
}
GRID = ("bbaf2n", "brbk7n", "lbax4n", "lbbc2a", "lwbsza", "pwij3p")
TALKING: dict[str, Expected | type[MediaError]] = {
    "edtalk_pose_source2.mp4": Expected(60.0, (256, 256), 7.0),
    **{f"grid_{name}.mpg": Expected(3.0, (360, 288), 3.0) for name in GRID},
    "latentsync_demo1.mp4": Expected(10.0, (1080, 1920), 7.0),
    "pyannote_empty.wav": Expected(1.0, None, 1.0, NO_VIDEO),
    "videoretalking_face1.mp4": Expected(6.1, (700, 700), 6.1),
    "videoretalking_face3.mp4": Expected(5.0, (590, 590), 5.0),
    "videoretalking_face5.mp4": Expected(4.9, (524, 524), 4.9),
    "whisper_jfk.flac": Expected(11.0, None, 7.0, NO_VIDEO),
}


def test_the_tables_name_every_file(shared_data: Path) -> None:
    for folder, table in {"hard": HARD, "talking": TALKING}.items():
        assert {path.name for path in (shared_data / "clips" / folder).iterdir()} == set(table)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"hard/{name}", expected) for name, expected in HARD.items()),
        *((f"talking/{name}", expected) for name, expected in TALKING.items()),
    ],
)
def test_real_files(shared_data: Path, name: str, expected: Expected | type[MediaError]) -> None:
    path = shared_data / "clips" / name
    if not isinstance(expected, Expected):
        with pytest.raises(expected) as caught:
            read_clip(path, frames=4, audio=WINDOW)
        assert type(caught.value) is expected
        assert path.name in str(caught.value)
        return
    clip = read_clip(path, frames=4, audio=WINDOW)
    assert clip.info.duration_s == pytest.approx(expected.duration_s, abs=0.1)
    if expected.size is None:
        assert clip.info.video is None
        assert clip.frames is None
    else:
        assert clip.info.video is not None
        assert (clip.info.video.width, clip.info.video.height) == expected.size
        assert clip.frames is not None
        assert clip.frames.shape == (4, *expected.size[::-1], 3)
    if expected.audio_s is None:
        assert clip.info.audio is None
        assert clip.waveform is None
    else:
        assert clip.waveform is not None
        assert clip.waveform.size / 22_050 == pytest.approx(expected.audio_s, abs=0.1)
        assert np.abs(clip.waveform).max() <= 1.0
        silent = name in ("hard/silent_audio.mp4", "hard/moviepy_no_duration.webm")
        assert (np.abs(clip.waveform).max() < 1e-3) == silent
    warnings = [] if expected.warning is None else [expected.warning]
    if name == "hard/one_frame.mp4":
        warnings.append("Of the 4 requested frames, 1 are distinct: the nearest repeat.")
    assert list(clip.warnings) == warnings


def test_rotations_of_real_files(shared_data: Path) -> None:
    for name, rotation in {
        "rotated90_metadata.mp4": 90,
        "streamio_sideways_movie.mov": 270,
    }.items():
        clip = read_clip(shared_data / "clips" / "hard" / name, frames=1)
        assert clip.info.video is not None
        assert clip.info.video.rotation_deg == rotation
    plain = read_clip(
        shared_data / "clips" / "hard" / "name with spaces & 'quotes' ünïcode.mp4", frames=1
    )
    turned = read_clip(shared_data / "clips" / "hard" / "rotated90_metadata.mp4", frames=1)
    assert plain.frames is not None
    assert turned.frames is not None
    np.testing.assert_array_equal(turned.frames[0], np.rot90(plain.frames[0]))  # counter-clockwise


def test_the_demo_clip(project_root: Path) -> None:
    path = project_root / "docs" / "demo" / "demo.mp4"
    assert path.stat().st_size < 500_000
    clip = read_clip(path, frames=2, audio=WINDOW)
    assert clip.warnings == ()
    assert clip.info.duration_s == pytest.approx(8.2, abs=0.5)
    assert clip.waveform is not None
    assert np.sqrt(np.mean(clip.waveform**2)) > 0.02
    sidecar = find_transcript(path)
    assert sidecar is not None
    assert 20 <= len(read_transcript(sidecar).text.split()) <= 35


def test_authentic_clips_are_whole(first_impressions: Path) -> None:
    paths = sorted((first_impressions / "clips").iterdir())
    assert len(paths) == 7
    for path in paths:
        clip = read_clip(path, audio=WINDOW)
        assert clip.warnings == ()
        assert clip.waveform is not None
        assert clip.waveform.shape == (7 * 22_050,)
