"""The tuning of a recording relative to A4 = 440 Hz, by which chroma filters are shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mmperson.preprocessing.audio.spectrum import A0_HZ, PITCH_CLASSES, Float32, bin_frequencies_hz

if TYPE_CHECKING:
    from mmperson.preprocessing.audio.descriptors import DescriptorSpec

_LOWEST_HZ: Final = 150.0
_HIGHEST_HZ: Final = 4000.0
_PEAK_SHARE: Final = 0.1  # Lower peaks, relative to the frame's maximum, are ignored.
_STEPS: Final = 100  # per semitone


def estimate_tuning(power: Float32, spec: DescriptorSpec) -> float:
    """Estimate the most common deviation of the louder pitches from the semitone grid.

    If two deviations are almost equally common, rounding decides between them and changes the
    chroma. Single precision throughout makes the same choice as librosa.

    Args:
        power: float32 (frame, bin), power spectrum.
        spec: Sample rate and frame length.

    Returns:
        Semitones above A4 = 440 Hz, in [-0.5, 0.5); 0 if there is no pitch.
    """
    pitches_hz, strengths = spectral_peaks(power, spec)
    if not pitches_hz.size:
        return 0.0
    pitches_hz = pitches_hz[strengths >= np.median(strengths)]
    deviation = PITCH_CLASSES * np.log2(pitches_hz / A0_HZ) % 1.0
    deviation[deviation >= 0.5] -= 1.0
    counts, edges = np.histogram(deviation, np.linspace(-0.5, 0.5, _STEPS + 1))
    return float(edges[np.argmax(counts)])


def spectral_peaks(power: Float32, spec: DescriptorSpec) -> tuple[Float32, Float32]:
    """Locate spectral peaks between 150 Hz and 4 kHz, by parabolic interpolation.

    Args:
        power: float32 (frame, bin), power spectrum.
        spec: Sample rate and frame length.

    Returns:
        Frequencies in hertz, and strengths in the unit of ``power``: float32 (peak,) each.

    Source:
        Smith, Spectral Audio Signal Processing, "Quadratic interpolation of spectral peaks", 2011.
    """
    frequency = bin_frequencies_hz(spec.sample_rate_hz, spec.n_fft)
    first, end = np.searchsorted(frequency, [_LOWEST_HZ, min(_HIGHEST_HZ, frequency[-1])])
    band = power[:, first - 1 : end + 1]  # A peak needs two neighbours.
    floor = _PEAK_SHARE * power.max(axis=1, keepdims=True)
    loud = np.where(band > floor, band, np.float32(0))
    is_peak = (loud[:, 1:-1] > loud[:, :-2]) & (loud[:, 1:-1] >= loud[:, 2:])
    frames, bins = np.nonzero(is_peak)

    before, peak, after = (band[frames, bins + step] for step in range(3))
    slope = (after - before) / 2
    curvature = before + after - 2 * peak
    # The peak lies within a bin unless the three values are almost collinear.
    bends = np.abs(slope) < np.abs(curvature)
    shift = np.where(bends, -slope / np.where(bends, curvature, 1), np.float32(0))
    pitches_hz = (first + bins + shift) * (spec.sample_rate_hz / spec.n_fft)
    strengths = peak + slope * shift / 2
    return pitches_hz.astype(np.float32), strengths.astype(np.float32)
