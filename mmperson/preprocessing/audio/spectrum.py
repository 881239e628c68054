"""Overlapping frames, power spectra and filter banks, as librosa defines them.

Frames are rows, so applying a filter bank is one matrix product. Filter banks are cached.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from mmperson.preprocessing.audio.descriptors import DescriptorSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PITCH_CLASSES: Final = 12
_FRAMES_AT_ONCE: Final = 64  # So that intermediate values fit the processor's cache.
A0_HZ: Final = 27.5
# The chroma filters fade out around this octave above A0, with this width in octaves (Ellis 2007).
_CENTRE_OCTAVE: Final = 5.0
_OCTAVE_WIDTH: Final = 2.0

# Slaney's mel scale: linear up to 1 kHz, logarithmic above (Auditory Toolbox, 1998).
_MEL_BREAK_HZ: Final = 1000.0
_MEL_LINEAR: Final = 3.0 / 200.0  # mel per hertz
_MEL_LOG: Final = 27.0 / math.log(6.4)  # mel per factor e


def overlapping_frames(waveform: Float32, spec: DescriptorSpec) -> Float32:
    """Cut a waveform into frames, centred on every ``hop_length``-th sample from the first on.

    Args:
        waveform: float32 (sample,).
        spec: Frame length, hop length and padding.

    Returns:
        float32 (frame, sample), a read-only view; 1 + samples // hop_length frames.
    """
    padded = np.pad(waveform, spec.n_fft // 2, mode=spec.padding)
    return sliding_window_view(padded, spec.n_fft)[:: spec.hop_length]


def power_spectrum(frames: Float32) -> Float32:
    """Compute the power spectrum under a periodic Hann window.

    Args:
        frames: float32 (frame, sample).

    Returns:
        float32 (frame, bin), from 0 Hz to half the sample rate.
    """
    window = np.hanning(frames.shape[1] + 1)[:-1]
    power = np.empty((len(frames), frames.shape[1] // 2 + 1), dtype=np.float32)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        rows = slice(start, start + _FRAMES_AT_ONCE)
        # In double precision: quiet bins stay exact next to loud ones.
        spectrum = np.fft.rfft(frames[rows] * window)
        power[rows] = spectrum.real**2 + spectrum.imag**2
    return power


def bin_frequencies_hz(rate_hz: int, n_fft: int) -> Float64:
    """Return the frequency of every bin, float64 (bin,)."""
    return np.arange(n_fft // 2 + 1, dtype=np.float64) * (rate_hz / n_fft)


@functools.cache
def mel_filters(rate_hz: int, n_fft: int, n_mels: int) -> Float32:
    """Build triangular filters of unit area, evenly spaced on the mel scale.

    Args:
        rate_hz: Sample rate, at least 2,000.
        n_fft: Samples per frame.
        n_mels: Number of bands.

    Returns:
        float32 (bin, mel), read-only, for multiplication from the right.

    Source:
        Slaney, Auditory Toolbox, Technical Report 1998-010, Interval Research, 1998.
    """
    top = _MEL_BREAK_HZ * _MEL_LINEAR + math.log(rate_hz / 2 / _MEL_BREAK_HZ) * _MEL_LOG
    edges_hz = _mel_to_hz(np.linspace(0.0, top, n_mels + 2))
    lower, centre, upper = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    frequency = bin_frequencies_hz(rate_hz, n_fft)[:, np.newaxis]
    rising = (frequency - lower) / (centre - lower)
    falling = (upper - frequency) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return _frozen(triangles * 2.0 / (upper - lower))


@functools.cache
def chroma_filters(spec: DescriptorSpec, tuning: float) -> Float32:
    """Build filters that sum the bins of each pitch class over all octaves.

    A Gaussian weights a bin by its distance to a pitch class; it is as wide as the bin where bins
    are wider than a semitone. A second Gaussian lowers the weight with the distance to A5.

    Args:
        spec: Sample rate and frame length.
        tuning: Deviation from A4 = 440 Hz in semitones, in [-0.5, 0.5).

    Returns:
        float32 (bin, pitch class), read-only, for multiplication from the right.

    Source:
        Ellis, Chroma feature analysis and synthesis, Columbia University LabROSA, 2007.
    """
    # The width of the last bin needs one more bin. 0 Hz has no pitch: it is placed one and a half
    # octaves below the second bin, where its Gaussian is broad and its weight small.
    bins = spec.n_fft // 2 + 2
    frequency = np.arange(1, bins) * (spec.sample_rate_hz / spec.n_fft)
    semitone = PITCH_CLASSES * np.log2(frequency / A0_HZ) - tuning
    semitone = np.concatenate([[semitone[0] - 1.5 * PITCH_CLASSES], semitone])
    width = np.maximum(np.diff(semitone), 1.0)[:, np.newaxis]
    semitone = semitone[:-1, np.newaxis]

    half = PITCH_CLASSES // 2
    distance = (semitone - np.arange(PITCH_CLASSES) + half) % PITCH_CLASSES - half
    weights = np.exp(-0.5 * (2.0 * distance / width) ** 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    octave = semitone / PITCH_CLASSES
    weights *= np.exp(-0.5 * ((octave - _CENTRE_OCTAVE) / _OCTAVE_WIDTH) ** 2)
    return _frozen(weights)


@functools.cache
def cosine_basis(size: int, count: int) -> Float64:
    """Return the first rows of the orthonormal discrete cosine transform, type II.

    Args:
        size: Length of the transformed sequences.
        count: Number of coefficients, at most ``size``.

    Returns:
        float64 (coefficient, size), read-only.
    """
    order = np.arange(count)[:, np.newaxis]
    angle = np.pi / size * order * (np.arange(size) + 0.5)
    basis: Float64 = np.cos(angle) * math.sqrt(2.0 / size)
    basis[0] /= math.sqrt(2.0)
    basis.flags.writeable = False
    return basis


def _mel_to_hz(mel: Float64) -> Float64:
    above = (mel - _MEL_BREAK_HZ * _MEL_LINEAR) / _MEL_LOG
    logarithmic = _MEL_BREAK_HZ * np.exp(np.maximum(above, 0.0))
    return np.where(above < 0, mel / _MEL_LINEAR, logarithmic)


def _frozen(filters: Float64) -> Float32:
    """Return float32 filters that are read-only, because callers share them."""
    frozen = filters.astype(np.float32)
    frozen.flags.writeable = False
    return frozen
