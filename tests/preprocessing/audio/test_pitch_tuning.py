import numpy as np
import pytest

from mmperson.preprocessing import DescriptorSpec
from mmperson.preprocessing.audio.pitch_tuning import estimate_tuning, spectral_peaks
from mmperson.preprocessing.audio.spectrum import overlapping_frames, power_spectrum

SPEC = DescriptorSpec()
TIME_S = np.arange(2 * SPEC.sample_rate_hz) / SPEC.sample_rate_hz


def power_of(*frequencies_hz):
    chord = sum(0.2 * np.sin(2 * np.pi * hz * TIME_S) for hz in frequencies_hz)
    return power_spectrum(overlapping_frames(chord.astype(np.float32), SPEC))


def test_peaks_are_found_between_the_bins():
    pitches_hz, strengths = spectral_peaks(power_of(1003.3), SPEC)
    loud = strengths > 0.5 * strengths.max()
    # A bin is 10.8 Hz wide. The parabola of a power spectrum is good to a twentieth of it.
    np.testing.assert_allclose(np.median(pitches_hz[loud]), 1003.3, atol=1.5)


@pytest.mark.parametrize("frequency_hz", [100.0, 4500.0])
def test_peaks_outside_the_range_are_left_out(frequency_hz):
    _, inside = spectral_peaks(power_of(440.0), SPEC)
    _, strengths = spectral_peaks(power_of(frequency_hz), SPEC)
    assert strengths.max(initial=0.0) < 1e-3 * inside.max()


@pytest.mark.parametrize("semitones", [-0.3, 0.0, 0.25])
def test_a_detuned_chord_is_measured(semitones):
    chord = [hz * 2 ** (semitones / 12) for hz in (440.0, 1760.0, 3520.0)]
    assert estimate_tuning(power_of(*chord), SPEC) == pytest.approx(semitones, abs=0.06)


def test_silence_is_in_tune():
    assert estimate_tuning(np.zeros((3, SPEC.n_fft // 2 + 1), dtype=np.float32), SPEC) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_librosa(seed):
    librosa = pytest.importorskip("librosa", reason="librosa is the reference")
    noise = np.random.default_rng(seed).normal(size=22_050).astype(np.float32) * 0.1
    power = power_spectrum(overlapping_frames(noise, SPEC))
    expected = librosa.estimate_tuning(S=power.T, sr=SPEC.sample_rate_hz)
    assert estimate_tuning(power, SPEC) == pytest.approx(expected, abs=1e-9)
