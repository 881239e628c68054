import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmperson.errors import UsageError
from mmperson.media import AudioWindow, read_clip
from mmperson.preprocessing import (
    DESCRIPTORS,
    DescriptorSpec,
    InputSpec,
    acoustic_descriptors,
    prepare_clip,
    to_analysis_rate,
)

SPEC = DescriptorSpec()
RATE_HZ = SPEC.sample_rate_hz
# Differences are relative to the value, or to the spread over First Impressions' training split
# where the value is smaller than that: cepstral coefficients pass through zero.
STD = np.concatenate(
    [
        [0.051, 0.041, 485, 315, 911, 0.040],
        [88.3, 24.4, 20.7, 13.0, 11.6, 11.2, 8.9, 8.9, 8.0, 6.4],
        [6.2, 5.8, 5.3, 5.3, 4.9, 5.1, 4.4, 4.0, 3.9, 3.7],
    ]
)
CLIPS = (
    "-AmMDnVl4s8.003",
    "0ObEtA6Q8vU.004",
    "6KKNrufnL80.000",
    "_G3kw9HwCqY.000",
    "_fJcW5234bY.001",
    "_uNup91ZYw0.002",
)


def noise(samples, scale=0.1, seed=0):
    values = np.random.default_rng(seed).normal(scale=scale, size=samples)
    return values.astype(np.float32)


def chord(samples, *frequencies_hz):
    time_s = np.arange(samples) / RATE_HZ
    waves = [np.sin(2 * np.pi * hz * time_s) / (2 + i) for i, hz in enumerate(frequencies_hz)]
    return np.sum(waves, axis=0).astype(np.float32) / len(waves)


def speech_like(samples):
    """Glides under a slow envelope, with a pause of digital silence in the middle."""
    time_s = np.arange(samples) / RATE_HZ
    voice = np.sin(2 * np.pi * (150 * time_s + 20 * np.sin(3 * time_s))) ** 5
    waveform = (0.3 * voice * (1 + np.sin(9 * time_s)) + noise(samples, 0.002)).astype(np.float32)
    waveform[samples // 3 : samples // 2] = 0.0
    return waveform


SIGNALS = {
    "noise": noise(7 * RATE_HZ),
    "quiet noise": noise(2 * RATE_HZ, 1e-5),
    "chord": chord(3 * RATE_HZ, 221.3, 441.7, 886.0, 1337.0),
    "speech": speech_like(5 * RATE_HZ),
    "clipped": np.clip(noise(RATE_HZ, 2.0), -1, 1),
    "silence": np.zeros(RATE_HZ, dtype=np.float32),
    "shorter than a frame": noise(1500),
}


def read_published_window(path):
    clip = read_clip(path, audio=AudioWindow(SPEC.source_rate_hz, duration_s=SPEC.window_s))
    assert clip.waveform is not None
    return clip


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")  # librosa, of the shortest signal
@pytest.mark.filterwarnings("ignore:Trying to estimate tuning from empty")  # librosa, of silence
@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize("name", SIGNALS)
def test_synthetic_signals_agree_with_librosa(librosa_descriptors, name, padding):
    spec = DescriptorSpec(padding=padding)
    expected = librosa_descriptors(SIGNALS[name], spec)
    error = acoustic_descriptors(SIGNALS[name], spec) - expected
    assert np.abs(error / np.maximum(np.abs(expected), STD)).max() <= 1e-3


@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_agree_with_librosa(
    librosa_descriptors, first_impressions, published, name, padding
):
    clip = read_published_window(first_impressions / f"clips/{name}.mp4")
    waveform = to_analysis_rate(clip.waveform, SPEC)
    spec = DescriptorSpec(padding=padding)
    expected = librosa_descriptors(waveform, spec)
    error = acoustic_descriptors(waveform, spec) - expected
    assert np.abs(error / np.maximum(np.abs(expected), 0.1 * published.std)).max() <= 1e-3


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_agree_with_the_published_table(first_impressions, published, name):
    clip = read_published_window(first_impressions / f"clips/{name}.mp4")
    measured = prepare_clip(clip, None, InputSpec(audio=SPEC), None).audio
    error = np.abs(measured - published.rows[name]) / published.std
    assert error.mean() <= 5e-4
    assert error.max() <= 2e-3


def test_the_spread_above_is_that_of_the_training_split(published):
    np.testing.assert_allclose(published.std, STD, rtol=0.02)


def test_names_and_numbers_go_together():
    descriptors = acoustic_descriptors(chord(RATE_HZ, 1000.0), SPEC)
    assert descriptors.dtype == np.float32
    assert descriptors.shape == (len(DESCRIPTORS),) == SPEC.shape
    named = dict(zip(DESCRIPTORS, descriptors, strict=True))
    assert named["rms"] == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert named["spectral_centroid"] == pytest.approx(1000, rel=0.05)
    assert named["spectral_rolloff"] == pytest.approx(1000, rel=0.05)
    assert named["zero_crossing_rate"] == pytest.approx(2 * 1000 / RATE_HZ, rel=0.05)


def test_only_the_window_counts():
    waveform = noise(8 * RATE_HZ)
    quieter_end = waveform.copy()
    quieter_end[7 * RATE_HZ :] *= 0.01
    np.testing.assert_array_equal(
        acoustic_descriptors(waveform, SPEC), acoustic_descriptors(quieter_end, SPEC)
    )


def test_a_waveform_is_refused_that_is_none():
    with pytest.raises(UsageError, match="not a number"):
        acoustic_descriptors(np.array([0.0, np.nan], dtype=np.float32), SPEC)


@settings(max_examples=60, deadline=None)
@given(
    waveform=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.integers(1, 3000),
        elements=st.floats(-64, 64, width=32),
        fill=st.sampled_from([0.0, 1.0, -1.0, 1e-30, 2.0**-149]),
    ),
    padding=st.sampled_from(["reflect", "constant"]),
)
def test_any_waveform_gives_finite_numbers(waveform, padding):
    descriptors = acoustic_descriptors(waveform, DescriptorSpec(padding=padding))
    assert descriptors.shape == (26,)
    assert np.isfinite(descriptors).all()
