from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mmperson.errors import MediaTooLarge, UsageError
from mmperson.media import AudioWindow, Clip, MediaLimits, read_clip
from mmperson.media.audio import WaveformCollector, to_mono
from tests.fixtures.media import hum, write_clip

RATE_HZ = 16_000


def frame_of(data: np.ndarray, format: str, layout: str, rate_hz: int = RATE_HZ) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(data, format=format, layout=layout)
    frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
    return frame


@pytest.mark.parametrize(
    ("format", "dtype", "full"),
    [
        ("u8", np.uint8, 128),
        ("s16", np.int16, 2**15),
        ("s32", np.int32, 2**31),
        ("flt", np.float32, 1),
    ],
)
@pytest.mark.parametrize("planar", [False, True])
def test_every_sample_format_gives_the_mean_of_the_channels(
    format: str, dtype: type, full: int, planar: bool
) -> None:
    left, right = np.array([0.5, -0.25, 0.0]), np.array([-0.5, -0.75, 0.5])
    offset = 128 if format == "u8" else 0
    data = (np.stack([left, right]) * full + offset).astype(dtype)
    if not planar:
        data = data.T.reshape(1, -1)
    frame = frame_of(data, format + "p" * planar, "stereo")
    mono = to_mono(frame)
    assert mono.dtype == np.float32
    np.testing.assert_allclose(mono, [0.0, -0.5, 0.25], atol=1e-6)


def read_wave(path: Path, **window: float) -> Clip:
    return read_clip(path, audio=AudioWindow(RATE_HZ, **window))


@pytest.fixture(scope="module")
def wave_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wave") / "wave.wav"
    return write_clip(
        path, duration_s=3.0, video_codec=None, audio_codec="pcm_s16le", audio_rate_hz=RATE_HZ
    )


@pytest.mark.parametrize(("start_s", "duration_s"), [(0.0, 1.0), (0.0, 0.1234), (1.7, 0.5)])
def test_the_window_is_exact(wave_file: Path, start_s: float, duration_s: float) -> None:
    clip = read_wave(wave_file, start_s=start_s, duration_s=duration_s)
    assert clip.waveform is not None
    assert clip.waveform.dtype == np.float32
    assert clip.waveform_start_s == pytest.approx(start_s)
    samples = round(duration_s * RATE_HZ)
    time_s = (np.arange(samples) + round(start_s * RATE_HZ)) / RATE_HZ
    np.testing.assert_allclose(clip.waveform, hum(time_s), atol=1e-4)


def test_all_of_the_audio(wave_file: Path) -> None:
    clip = read_wave(wave_file)
    assert clip.waveform is not None
    assert clip.waveform.shape == (3 * RATE_HZ,)
    assert clip.sample_rate_hz == RATE_HZ


def test_a_window_beyond_the_end_is_a_warning(wave_file: Path) -> None:
    clip = read_wave(wave_file, start_s=5.0)
    assert clip.waveform is None
    (warning,) = clip.warnings
    assert "5.0 s" in warning


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100])
def test_resampling_keeps_length_and_tone(wave_file: Path, rate_hz: int) -> None:
    waveform = read_clip(wave_file, audio=AudioWindow(rate_hz, duration_s=1.0)).waveform
    assert waveform is not None
    assert waveform.shape == (rate_hz,)
    inner = slice(rate_hz // 10, -rate_hz // 10)  # the filter rings at both ends
    expected = hum(np.arange(rate_hz) / rate_hz)
    np.testing.assert_allclose(waveform[inner], expected[inner], atol=2e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # librosa's readers import aifc
def test_equals_librosa(shared_data: Path) -> None:
    librosa = pytest.importorskip("librosa")
    path = shared_data / "clips" / "talking" / "whisper_jfk.flac"
    expected, _ = librosa.load(path, sr=22_050, mono=True, duration=7.0, res_type="soxr_hq")
    waveform = read_clip(path, audio=AudioWindow(22_050, duration_s=7.0)).waveform
    np.testing.assert_allclose(waveform, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_a_late_start_is_kept_and_no_silence_is_invented(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, audio_start_s=0.8)
    clip = read_wave(path, duration_s=1.5)
    assert clip.waveform is not None
    assert clip.waveform_start_s == pytest.approx(0.8, abs=0.03)
    assert clip.waveform.size == pytest.approx(0.7 * RATE_HZ, abs=0.03 * RATE_HZ)
    assert np.abs(clip.waveform[800:1600]).max() > 0.1


def collect(window: AudioWindow, *pieces: tuple[float | None, float]) -> WaveformCollector:
    """Collect 0.1 s pieces: (time, value)."""
    collector = WaveformCollector(window, MediaLimits())
    for time_s, value in pieces:
        data = np.full((1, RATE_HZ // 10), value, dtype=np.float32)
        collector.add(frame_of(data, "flt", "mono"), time_s)
    return collector


def test_a_gap_is_filled_so_that_later_sound_stays_in_place() -> None:
    collected = collect(AudioWindow(RATE_HZ), (0.0, 0.1), (0.3, 0.2), (0.4, 0.3)).finish()
    assert collected is not None
    waveform, start_s = collected
    assert start_s == 0.0
    middles = waveform.reshape(5, -1)[:, 800]
    np.testing.assert_allclose(middles, [0.1, 0.0, 0.0, 0.2, 0.3], atol=1e-6)


def test_jitter_steps_back_and_missing_times_are_no_gaps() -> None:
    pieces = ((0.0, 0.1), (0.13, 0.2), (None, 0.3), (0.1, 0.4))
    collected = collect(AudioWindow(RATE_HZ), *pieces).finish()
    assert collected is not None
    np.testing.assert_allclose(collected[0].reshape(4, -1)[:, 0], [0.1, 0.2, 0.3, 0.4], atol=1e-6)


def test_the_window_ends_inside_a_gap() -> None:
    collector = collect(AudioWindow(RATE_HZ, duration_s=0.2), (0.0, 0.1), (9.0, 0.2))
    assert collector.done
    collected = collector.finish()
    assert collected is not None
    assert collected[0].shape == (3200,)


def test_a_gap_of_years_is_too_large() -> None:
    with pytest.raises(MediaTooLarge, match="max_samples"):
        collect(AudioWindow(RATE_HZ), (0.0, 0.1), (1e8, 0.2))


def test_packets_far_before_the_window_are_skipped() -> None:
    collector = WaveformCollector(AudioWindow(RATE_HZ, start_s=10.0), MediaLimits())
    assert collector.skips(8.9, 9.0)
    assert not collector.skips(0.0, 9.9)
    assert not WaveformCollector(AudioWindow(RATE_HZ), MediaLimits()).skips(-0.05, -0.02)


def test_bad_samples_and_overshoot_are_repaired() -> None:
    collector = collect(AudioWindow(RATE_HZ), (0.0, np.nan), (0.1, 1.5), (0.2, -np.inf))
    collected = collector.finish()
    assert collected is not None
    np.testing.assert_array_equal(collected[0].reshape(3, -1)[:, 0], [0.0, 1.0, 0.0])
    assert collector.problem is not None
    assert "NaN" in collector.problem


@pytest.mark.parametrize("size", [65.0, 3.4e38, 1e300])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_samples_far_beyond_full_scale_are_set_to_zero(
    tmp_path: Path, size: float, rate_hz: int
) -> None:
    sound = 0.5 * np.sin(2 * np.pi * 220 * np.arange(2 * rate_hz) / rate_hz)
    sound[rate_hz:] = np.where(np.arange(rate_hz) % 3, size, -size)
    path = tmp_path / "loud.wav"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_f64le", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="dbl", layout="mono")
        frame.sample_rate = rate_hz
        output.mux(stream.encode(frame))
    clip = read_clip(path, audio=AudioWindow(16_000))
    assert clip.waveform is not None
    assert np.abs(clip.waveform[:15_900]).max() == pytest.approx(0.5, abs=0.02)
    assert np.abs(clip.waveform[16_100:]).max() < 0.01  # the filter rings on
    (warning,) = clip.warnings
    assert "64 times full scale" in warning


@pytest.mark.parametrize("rate_hz", [10, 48_000])
def test_an_odd_or_changing_rate_ends_the_audio(rate_hz: int) -> None:
    collector = collect(AudioWindow(RATE_HZ), (0.0, 0.1))
    data = np.zeros((1, 10), dtype=np.float32)
    collector.add(frame_of(data, "flt", "mono", rate_hz), 0.1)
    assert collector.done
    assert str(rate_hz) in str(collector.problem)
    collected = collector.finish()
    assert collected is not None
    assert collected[0].shape == (1600,)


@pytest.mark.parametrize(
    "window",
    [
        {"sample_rate_hz": 0},
        {"sample_rate_hz": RATE_HZ, "start_s": -1.0},
        {"sample_rate_hz": RATE_HZ, "start_s": float("nan")},
        {"sample_rate_hz": RATE_HZ, "duration_s": 0.0},
        {"sample_rate_hz": RATE_HZ, "duration_s": float("inf")},
    ],
)
def test_a_senseless_window_is_the_callers_error(window: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        AudioWindow(**window)  # type: ignore[arg-type]


@pytest.mark.parametrize(("codec", "name"), [("aac", "a.mp4"), ("libopus", "a.mkv")])
def test_eight_channels_are_mixed(tmp_path: Path, codec: str, name: str) -> None:
    """Eight planes are more than PyAV can count: read as they are, they end the process."""
    levels = np.arange(1, 9) / 20
    with av.open(str(tmp_path / name), "w") as output:
        stream = output.add_stream(codec, rate=48_000, layout="7.1")
        tones = np.sin(2 * np.pi * 300 * np.arange(48_000) / 48_000)[:, None] * levels
        samples = np.round(tones * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="7.1")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), 0
        output.mux(stream.encode(frame) + stream.encode(None))
    waveform = read_clip(tmp_path / name, audio=AudioWindow(48_000)).waveform
    assert waveform is not None
    # AAC cuts the low-frequency channel at 120 Hz.
    assert np.abs(waveform[10_000:40_000]).max() == pytest.approx(levels.mean(), rel=0.15)
