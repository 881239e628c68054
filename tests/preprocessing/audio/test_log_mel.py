import warnings

import numpy as np
import pytest

from mmperson.errors import UsageError
from mmperson.media import AudioWindow, read_clip
from mmperson.preprocessing import LogMelSpec, log_mel

SPEC = LogMelSpec()
RATE_HZ = SPEC.source_rate_hz


def noise(samples, scale=0.1):
    return np.random.default_rng(0).normal(scale=scale, size=samples).astype(np.float32)


def tone(frequency_hz, samples=RATE_HZ, height=0.5):
    time_s = np.arange(samples) / RATE_HZ
    return (height * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def librosa_power(waveform, spec):
    librosa = pytest.importorskip("librosa", reason="librosa is the reference")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=")  # Of the shortest signals.
        power = librosa.feature.melspectrogram(
            y=waveform,
            sr=spec.source_rate_hz,
            n_fft=spec.n_fft,
            win_length=spec.window_length,
            hop_length=spec.hop_length,
            n_mels=spec.n_mels,
        )
    return power.T


SIGNALS = {
    "noise": noise(2 * RATE_HZ),
    "quiet noise": noise(RATE_HZ, 1e-4),
    "loud beside quiet": tone(300.0, height=1.0) + noise(RATE_HZ, 1e-4),
    "shorter than a window": noise(100),
    "one sample": noise(1),
    "no whole number of hops": noise(12_345),
    "silence": np.zeros(RATE_HZ, dtype=np.float32),
}
SPECS = {
    "default": SPEC,
    "odd window": LogMelSpec(window_length=401),
    "window as long as the frame": LogMelSpec(window_length=1024, n_fft=1024, hop_length=256),
    "other rate": LogMelSpec(source_rate_hz=22_050, n_mels=40),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("name", SIGNALS)
def test_agrees_with_librosa(name, spec):
    expected = librosa_power(SIGNALS[name], spec)
    measured = np.exp(log_mel(SIGNALS[name], spec).astype(np.float64))
    np.testing.assert_allclose(measured, expected + 1e-6, rtol=1e-3)


def test_a_real_clip_agrees_with_librosa(shared_data):
    path = shared_data / "clips" / "talking" / "whisper_jfk.flac"
    waveform = read_clip(path, audio=AudioWindow(RATE_HZ, duration_s=SPEC.window_s)).waveform
    measured = np.exp(log_mel(waveform, SPEC).astype(np.float64))
    np.testing.assert_allclose(measured, librosa_power(waveform, SPEC) + 1e-6, rtol=1e-3)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_full_window_has_the_shape_of_the_spec(spec):
    longer = noise(round(spec.source_rate_hz * spec.window_s) + 5000)
    spectrogram = log_mel(longer, spec)
    assert spectrogram.dtype == np.float32
    assert spectrogram.shape == spec.shape
    np.testing.assert_array_equal(spectrogram, log_mel(longer[:-5000], spec))


def test_loudness_stays_visible():
    quieter = log_mel(tone(440.0, height=0.05), SPEC)[50].max()
    assert log_mel(tone(440.0), SPEC)[50].max() - quieter == pytest.approx(np.log(100), abs=1e-3)


def test_a_click_is_seen_when_it_sounds():
    waveform = np.zeros(RATE_HZ, dtype=np.float32)
    waveform[8000] = 1.0
    energy = log_mel(waveform, SPEC).sum(axis=1)
    assert energy.argmax() == 8000 // SPEC.hop_length
    np.testing.assert_allclose(energy[:48], SPEC.n_mels * np.log(1e-6), rtol=1e-6)


def test_higher_tones_are_in_higher_bands():
    bands = [log_mel(tone(hz), SPEC)[50].argmax() for hz in (150, 400, 1000, 3000, 7000)]
    assert bands == sorted(set(bands))


def test_a_waveform_is_refused_that_is_none():
    with pytest.raises(UsageError, match="not a number"):
        log_mel(np.array([0.0, np.nan], dtype=np.float32), SPEC)
