"""Pitch tracking: which frames are voiced, and their fundamental frequency.

Boersma's autocorrelation in two passes, after Hirst: the first pass estimates the range of the
voice, the second searches only this range, which removes nearly all octave errors.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from mmperson.preprocessing.audio.spectrum import Float32, Float64

LOWEST_HZ: Final = 60.0
HIGHEST_HZ: Final = 400.0

_PERIODS: Final = 3  # Periods of the lowest pitch under the window; Boersma 1993.
# Favours the higher of equal candidates. Boersma 1993 uses 0.01 and a search for the smoothest
# path; without the search, 0.05 tracks uneven voices better.
_OCTAVE_COST: Final = 0.05
_VOICED: Final = 0.45  # Minimum autocorrelation of a voiced frame, as in Praat.
# The range of the voice around the quartiles of the first pass; Hirst 2011, for lively speech.
_RANGE_BELOW: Final = 0.75
_RANGE_ABOVE: Final = 2.5
_SMOOTHED_FRAMES: Final = 5
_LEAST_RUN: Final = 3  # Voiced frames in a row; a shorter run is a click.
_CYCLE_SEARCH: Final = 0.2  # Largest deviation of a cycle's peak, as a share of the period.
_PEAK_SMOOTHING_S: Final = 1e-3
_FRAMES_AT_ONCE: Final = 128  # So that intermediate values fit the processor's cache.
_TINY: Final = np.float32(1e-30)


@dataclass(frozen=True, eq=False)
class PitchTrack:
    """Pitch per frame.

    Attributes:
        centres: int64 (frame,), the sample in the middle of each frame.
        f0_hz: float64 (frame,), in [60, 400]; NaN in unvoiced frames.
        periodicity: float64 (frame,), the autocorrelation at the period, which is the share of
            periodic power, in [0, 1]; 0 in unvoiced frames.
        power: float32 (frame, bin), power spectrum under a Hann window, up to half the sample rate.
    """

    centres: npt.NDArray[np.int64]
    f0_hz: Float64
    periodicity: Float64
    power: Float32

    @property
    def voiced(self) -> npt.NDArray[np.bool_]:
        """Which frames are voiced, bool (frame,)."""
        return np.isfinite(self.f0_hz)


def track_pitch(
    waveform: Float32,
    centres: npt.NDArray[np.int64],
    active: npt.NDArray[np.bool_],
    rate_hz: int,
) -> PitchTrack:
    """Track the pitch of a voice.

    Args:
        waveform: float32 (sample,), mono.
        centres: int64 (frame,): the sample in the middle of each frame, evenly spaced.
        active: bool (frame,); inactive frames are unvoiced, with power 0.
        rate_hz: Sample rate.

    Source:
        Boersma, Accurate short-term analysis of the fundamental frequency and the
        harmonics-to-noise ratio of a sampled sound, IFA Proceedings 17, 1993. Hirst, The analysis
        by synthesis of speech melody, Journal of Speech Sciences 1, 2011.
    """
    power, correlation = _autocorrelation(waveform, centres[active], rate_hz)
    lags = np.arange(correlation.shape[1]) + int(rate_hz / HIGHEST_HZ) - 1
    peaks = _peak_scores(correlation, lags)
    pitch_hz, strength = _best_peaks(peaks, correlation, lags, rate_hz)
    voiced = strength >= _VOICED
    if voiced.any():
        low_hz, high_hz = np.quantile(pitch_hz[voiced], (0.25, 0.75))
        longest, shortest = rate_hz / (_RANGE_BELOW * low_hz), rate_hz / (_RANGE_ABOVE * high_hz)
        peaks[:, (lags[1:-1] < shortest) | (lags[1:-1] > longest)] = -np.inf
        pitch_hz, strength = _best_peaks(peaks, correlation, lags, rate_hz)

    frames = len(centres)
    track = PitchTrack(
        centres,
        np.full(frames, np.nan),
        np.zeros(frames),
        np.zeros((frames, power.shape[1]), dtype=np.float32),
    )
    track.f0_hz[active] = np.where(strength >= _VOICED, pitch_hz, np.nan)
    for start, end in runs(track.voiced):
        if end - start < _LEAST_RUN:
            track.f0_hz[start:end] = np.nan
    track.f0_hz[:] = _smooth(track.f0_hz)
    track.periodicity[active] = np.clip(strength, 0.0, 1.0)
    track.periodicity[~track.voiced] = 0.0
    track.power[active] = power
    return track


def cycle_peaks(track: PitchTrack, waveform: Float32, rate_hz: int) -> tuple[Float64, Float64]:
    """Locate the peaks of three successive cycles in the middle of every voiced frame.

    Args:
        track: From ``track_pitch``.
        waveform: float32 (sample,), the tracked one.
        rate_hz: Sample rate.

    Returns:
        Times in samples, and heights: float64 (3, voiced frame) each.
    """
    # Smoothing prevents hiss and formants from moving the peaks.
    window = np.hanning(round(rate_hz * _PEAK_SMOOTHING_S) + 2)[1:-1].astype(np.float32)
    smooth = np.pad(np.convolve(waveform, window / window.sum(), mode="same"), 1)
    # The pulses of a voice point to one side, where the peaks are sharper.
    if np.einsum("s,s,s->", smooth, smooth, smooth) < 0:
        smooth = -smooth
    period = rate_hz / track.f0_hz[track.voiced]
    start, width = track.centres[track.voiced] - period, period
    times, heights = np.empty((3, len(period))), np.empty((3, len(period)))
    for cycle in range(3):
        times[cycle], heights[cycle] = _highest(smooth, start, width)
        start = times[cycle] + (1.0 - _CYCLE_SEARCH) * period
        width = 2.0 * _CYCLE_SEARCH * period
    return times, heights


def _highest(padded: Float32, start: Float64, width: Float64) -> tuple[Float64, Float64]:
    """Locate the maximum of each segment; ``padded`` has one more sample at both ends."""
    first = np.rint(start).astype(np.int64)
    length = np.rint(width).astype(np.int64)
    offset = np.arange(length.max(initial=1))
    index = np.clip(first[:, np.newaxis] + offset, 0, len(padded) - 3)
    values = np.where(offset < length[:, np.newaxis], padded[index + 1], -np.inf)
    top = index[np.arange(len(index)), values.argmax(axis=1)]
    left, middle, right = (padded[top + step].astype(np.float64) for step in range(3))
    shift, height = _parabola_peak(left, middle, right)
    return top + shift, height


def _autocorrelation(
    waveform: Float32, centres: npt.NDArray[np.int64], rate_hz: int
) -> tuple[Float32, Float32]:
    """Return power, and autocorrelation over that of the window; Boersma 1993, equation 9."""
    length = round(_PERIODS * rate_hz / LOWEST_HZ)
    first, last = int(rate_hz / HIGHEST_HZ) - 1, int(np.ceil(rate_hz / LOWEST_HZ)) + 1
    n_fft = _fast_length(length + last)  # Padding: no circular overlap within the lags.
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2)[: last + 1]
    normal = (of_window[0] / of_window[first : last + 1]).astype(np.float32)

    padded = np.pad(waveform, (length // 2, length - length // 2))
    frames = sliding_window_view(padded, length)
    power = np.empty((len(centres), n_fft // 2 + 1), dtype=np.float32)
    correlation = np.empty((len(centres), last + 1 - first), dtype=np.float32)
    for start in range(0, len(centres), _FRAMES_AT_ONCE):
        rows = slice(start, start + _FRAMES_AT_ONCE)
        block = frames[centres[rows]]
        block = (block - block.mean(axis=1, keepdims=True)) * window
        spectrum = np.fft.rfft(block, n_fft)
        power[rows] = spectrum.real**2 + spectrum.imag**2
        lagged = np.fft.irfft(power[rows], n_fft)
        correlation[rows] = lagged[:, first : last + 1] / np.maximum(lagged[:, :1], _TINY)
    return power, correlation * normal


@functools.cache
def _fast_length(minimum: int) -> int:
    """Return the smallest even length from ``minimum`` on without prime factors above 5."""
    exponents = itertools.product(range(1, 18), range(11), range(8))
    lengths: Iterable[int] = (2**i * 3**j * 5**k for i, j, k in exponents)
    return min(length for length in lengths if length >= minimum)


def _peak_scores(correlation: Float32, lags: npt.NDArray[np.int64]) -> Float32:
    """Return the strength of each candidate (frame, inner lag), minus infinity off the peaks."""
    inner = correlation[:, 1:-1]
    is_peak = (inner >= correlation[:, :-2]) & (inner > correlation[:, 2:])
    cost = _OCTAVE_COST * np.log2(lags[1:-1] / lags[-2])
    return np.where(is_peak, inner - cost.astype(np.float32), np.float32(-np.inf))


def _best_peaks(
    scores: Float32, correlation: Float32, lags: npt.NDArray[np.int64], rate_hz: int
) -> tuple[Float64, Float64]:
    """Return frequency and height of each frame's best peak, by parabolic interpolation."""
    rows = np.arange(len(scores))
    best = scores.argmax(axis=1)
    has_peak = np.isfinite(scores[rows, best])
    left, middle, right = (correlation[rows, best + step].astype(np.float64) for step in range(3))
    shift, height = _parabola_peak(left, middle, right)
    frequency_hz = np.clip(rate_hz / (lags[best + 1] + shift), LOWEST_HZ, HIGHEST_HZ)
    return frequency_hz, np.where(has_peak, height, 0.0)


def _parabola_peak(left: Float64, middle: Float64, right: Float64) -> tuple[Float64, Float64]:
    """Return the position, in [-0.5, 0.5], and height of the peak of a parabola."""
    bend = left - 2.0 * middle + right
    slope = 0.5 * (left - right)
    shift = np.where(bend < 0, slope / np.where(bend < 0, bend, 1.0), 0.0)
    shift = np.clip(shift, -0.5, 0.5)
    return shift, middle - 0.5 * slope * shift


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the start and end (exclusive) of every run of true values.

    >>> runs(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _smooth(f0_hz: Float64) -> Float64:
    """Return the median of the voiced frames around each voiced frame."""
    around = np.pad(f0_hz, _SMOOTHED_FRAMES // 2, constant_values=np.nan)
    ordered = np.sort(sliding_window_view(around, _SMOOTHED_FRAMES), axis=1)  # NaN comes last.
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(f0_hz))
    upper = ordered[rows, count // 2]
    lower = ordered[rows, np.maximum(count - 1, 0) // 2]
    return np.where(np.isfinite(f0_hz), 0.5 * (lower + upper), np.nan)
