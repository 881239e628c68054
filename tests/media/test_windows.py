import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from mmperson.errors import MediaTooLarge, UnreadableMedia, UsageError
from mmperson.media import AudioWindow, Clip, read_clip, read_windows
from mmperson.media.clip import Span
from mmperson.media.limits import DEFAULT_LIMITS, LONG_LIMITS, MediaLimits
from mmperson.media.read import ClipReader
from mmperson.media.video import FramePicker
from mmperson.media.windows import plan_windows
from tests.fixtures.media import cut, grey_of, write_clip

KINDS = {
    "clip.mp4": {},
    "fragmented.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "clip.mkv": {},
    "clip.avi": {"video_codec": "mpeg4", "audio_codec": "mp2"},
    "video.mp4": {"audio_codec": None},
    "sound.mp4": {"video_codec": None},
    "late.mp4": {"audio_start_s": 3.2},
}
AUDIO = AudioWindow(16_000, duration_s=1.5)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kinds")
    return {
        name: write_clip(folder / name, duration_s=9.0, **options)  # type: ignore[arg-type]
        for name, options in KINDS.items()
    }


def same(one: Clip, other: Clip) -> None:
    assert one.span == other.span
    assert one.warnings == other.warnings
    assert one.waveform_start_s == other.waveform_start_s
    for name in ("frames", "frame_times_s", "waveform"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            assert ours.shape == theirs.shape, name
            np.testing.assert_allclose(ours, theirs, atol=1e-3)  # the decoder's own noise


@pytest.mark.parametrize(("window_s", "step_s"), [(2.0, None), (3.0, 1.0), (1.5, 2.5)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_what_is_read_alone(
    clips: dict[str, Path], kind: str, window_s: float, step_s: float | None
) -> None:
    windows = list(read_windows(clips[kind], window_s, step_s, frames=3, audio=AUDIO))
    assert len(windows) >= 3
    for window in windows:
        same(window, read_clip(clips[kind], frames=3, audio=AUDIO, span=window.span))


@pytest.mark.parametrize("shown_s", [[0.0, 5.0, 10.0], [0.0, 0.1, 40.0, 40.1]])
def test_windows_without_a_new_picture_are_what_is_read_alone(
    tmp_path: Path, shown_s: list[float]
) -> None:
    path = write_clip(tmp_path / "slides.mkv", frame_times_s=shown_s, audio_codec=None)
    for window in read_windows(path, 1.0, frames=2):
        alone = read_clip(path, frames=2, span=window.span)
        np.testing.assert_array_equal(window.frame_times_s, alone.frame_times_s)
        np.testing.assert_array_equal(window.frames, alone.frames)
        assert window.warnings == alone.warnings


def test_a_gap_between_pictures_keeps_few_windows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Span] = []
    real = ClipReader.new_picker

    def spy(reader: ClipReader, span: Span) -> FramePicker:
        made.append(span)
        return real(reader, span)

    monkeypatch.setattr(ClipReader, "new_picker", spy)
    path = write_clip(tmp_path / "gap.mkv", frame_times_s=[0.0, 0.1, 200.0], audio_codec=None)
    for taken, window in enumerate(read_windows(path, 1.0, frames=2)):
        assert window.frames is not None
        assert len(made) <= taken + 12
    assert len(made) == 200


def test_video_that_ends_early_leaves_later_windows_without_it(tmp_path: Path) -> None:
    shown_s = [number / 20 for number in range(60)]
    path = write_clip(tmp_path / "short.mp4", duration_s=9.0, frame_times_s=shown_s)
    windows = list(read_windows(path, 2.0, frames=2, audio=AUDIO))
    assert [window.frames is None for window in windows] == [False, False, True, True, True]
    assert all(window.waveform is not None for window in windows)
    for window in windows[2:]:
        assert window.span is not None
        said = f"There is no video from {window.span.start_s:.1f} to {window.span.end_s:.1f} s."
        assert window.warnings == (said,)
        assert read_clip(path, frames=2, audio=AUDIO, span=window.span).warnings == (said,)


def test_windows_show_and_play_their_own_seconds(tmp_path: Path) -> None:
    def rising(time_s):  # type: ignore[no-untyped-def]
        return 0.05 * np.floor(time_s / 2 + 1) * np.sin(2 * np.pi * 440 * time_s)

    path = write_clip(tmp_path / "clip.mp4", duration_s=8.0, tone=rising, audio_codec="aac")
    windows = list(read_windows(path, 2.0, frames=2, audio=AudioWindow(16_000)))
    assert [window.span.start_s for window in windows if window.span] == [0.0, 2.0, 4.0, 6.0]
    for number, window in enumerate(windows):
        assert window.frames is not None
        assert window.waveform is not None
        shown = [grey_of(40 * number + index) for index in (10, 30)]
        np.testing.assert_allclose(np.asarray(window.frames).mean(axis=(1, 2, 3)), shown, atol=2)
        loudness = np.abs(window.waveform[2000:-2000]).max()
        assert loudness == pytest.approx(0.05 * (number + 1), rel=0.1)
        assert window.waveform_start_s == pytest.approx(2.0 * number, abs=0.03)


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (5.0, [(0.0, 5.0)]),
        (10.0, [(0.0, 10.0)]),
        (10.3, [(0.0, 10.0)]),
        (29.97, [(0.0, 10.0), (10.0, 20.0), (19.97, 29.97)]),
        (30.0, [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]),
    ],
)
def test_the_plan_covers_the_recording(
    duration_s: float, expected: list[tuple[float, float]]
) -> None:
    spans = plan_windows(duration_s, 10.0, 10.0)
    np.testing.assert_allclose([(span.start_s, span.end_s) for span in spans], expected)


@pytest.mark.parametrize(
    ("window_s", "step_s", "allowed"),
    [(0.5, None, "1 s or more"), (30.0, 1.0, "1.875 s or more"), (10.0, 0.0, "1 s or more")],
)
def test_windows_that_cannot_be(
    clips: dict[str, Path], window_s: float, step_s: float | None, allowed: str
) -> None:
    with pytest.raises(UsageError, match=allowed):
        read_windows(clips["clip.mp4"], window_s, step_s)


def test_sound_that_ends_early_leaves_later_windows_without_it(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "early.mkv", duration_s=9.0, audio_codec=None)
    with av.open(str(path)) as source, av.open(str(tmp_path / "both.mkv"), "w") as target:
        picture = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("pcm_s16le", rate=16_000, layout="mono")
        samples = np.full((1, 2 * 16_000), 8000, dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        target.mux(sound.encode(frame))
        for packet in source.demux():
            if packet.size:
                packet.stream = picture
                target.mux(packet)
    windows = list(read_windows(tmp_path / "both.mkv", 3.0, frames=2, audio=AUDIO))
    assert [window.waveform is None for window in windows] == [False, True, True]
    assert all(window.frames is not None for window in windows)
    assert "nothing after 3.0 s" in windows[1].warnings[-1]


def test_a_truncated_recording_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "clip.mkv", duration_s=9.0, noise=True)
    windows = list(read_windows(cut(whole, tmp_path / "cut.mkv", 0.5), 2.0, frames=2))
    assert 2 <= len(windows) <= 3
    assert all("cut short" in window.warnings[0] for window in windows)


def test_a_file_that_cannot_be_read_is_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UnreadableMedia):
        next(read_windows(path, 2.0, frames=2))


MEASURED = """
import resource, sys, time
from mmperson.media import AudioWindow, read_windows
start = time.process_time()
for clip in read_windows(sys.argv[1], 10.0, frames=4, audio=AudioWindow(16_000), threads="none"):
    assert clip.frames is not None and clip.waveform is not None
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.process_time() - start)
"""


def test_memory_is_flat_and_time_linear(tmp_path: Path, project_root: Path) -> None:
    found = []
    for seconds in (60, 600):
        path = tmp_path / f"{seconds}.mkv"
        write_clip(
            path,
            duration_s=seconds,
            frame_times_s=range(seconds),
            audio_codec="pcm_s16le",
            audio_rate_hz=16_000,
        )
        command = [sys.executable, "-c", MEASURED, str(path)]
        answer = subprocess.run(
            command, cwd=project_root, capture_output=True, text=True, check=True
        )
        found.append([float(figure) for figure in answer.stdout.split()])
    (short_mb, short_s), (long_mb, long_s) = found
    assert long_mb < short_mb + 12  # ten minutes of sound alone are 37 MB
    assert long_s < 25 * max(short_s, 0.05)


def test_the_limits_are_those_of_recordings(clips: dict[str, Path]) -> None:
    assert LONG_LIMITS.max_duration_s > 3600 > DEFAULT_LIMITS.max_duration_s
    with pytest.raises(MediaTooLarge, match="at most 5 are allowed"):
        next(read_windows(clips["clip.mp4"], 2.0, limits=MediaLimits(max_duration_s=5.0)))
