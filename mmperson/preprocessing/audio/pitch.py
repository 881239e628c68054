"""The pitch of a voice: which moments are voiced, and at which fundamental frequency.

Boersma's autocorrelation, in two passes after Hirst: the first pass finds the range of the voice,
the second looks only there, which removes nearly all errors of an octave. The spectra that the
autocorrelation is made from are kept, because measures of voice quality read them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from mmperson.preprocessing.audio.spectrum import Float32, Float64

LOWEST_HZ: Final = 60.0
HIGHEST_HZ: Final = 400.0

_PERIODS: Final = 3  # Periods of the lowest pitch under the window; Boersma 1993.
# Favours the higher of equal candidates. Boersma 1993 takes 0.01 and a search
# for the smoothest path; without the search, 0.05 follows uneven voices better.
_OCTAVE_COST: Final = 0.05
_VOICED: Final = 0.45  # Least autocorrelation of a voiced frame, as in Praat.
# The range of the voice around the quartiles of the first pass; Hirst 2011, for lively speech.
_RANGE_BELOW: Final = 0.75
_RANGE_ABOVE: Final = 2.5
_SMOOTHED_FRAMES: Final = 5
_LEAST_RUN: Final = 3  # Voiced frames in a row: a shorter run is a click.
_CYCLE_SEARCH: Final = 0.2  # A cycle's peak is at most this share of a period out of place.
_PEAK_SMOOTHING_S: Final = 1e-3
_FRAMES_AT_ONCE: Final = 128  # Their intermediate values fit the processor's cache.
_TINY: Final = np.float32(1e-30)


@dataclass(frozen=True, eq=False)
class PitchTrack:
    """Pitch, frame by frame.

    Attributes:
        centres: int64 (frame,): the sample in the middle of each frame.
        f0_hz: float64 (frame,), in [60, 400]; not a number where no voice is heard.
        periodicity: float64 (frame,): the autocorrelation at the period, the share of the power
            that repeats, in [0, 1]; 0 where no voice is heard.
        power: float32 (frame, bin): squared magnitudes under a Hann window, up to half the sample
            rate.
    """

    centres: npt.NDArray[np.int64]
    f0_hz: Float64
    periodicity: Float64
    power: Float32

    @property
    def voiced(self) -> npt.NDArray[np.bool_]:
        """Whether a voice is heard: bool (frame,)."""
        return np.isfinite(self.f0_hz)


def track_pitch(
    waveform: Float32,
    centres: npt.NDArray[np.int64],
    heard: npt.NDArray[np.bool_],
    rate_hz: int,
) -> PitchTrack:
    """Find the pitch around given samples.

    Args:
        waveform: float32 (sample,), mono.
        centres: int64 (frame,): the sample in the middle of each frame, evenly spaced.
        heard: bool (frame,): frames that are not heard count as unvoiced and are not measured;
            their power is 0.
        rate_hz: Samples per second.

    Returns:
        The pitch of every frame.

    Source:
        Boersma, Accurate short-term analysis of the fundamental frequency and the
        harmonics-to-noise ratio of a sampled sound, IFA Proceedings 17, 1993. Hirst, The analysis
        by synthesis of speech melody, Journal of Speech Sciences 1, 2011.
    """
    power, correlation = _autocorrelation(waveform, centres[heard], rate_hz)
    lags = np.arange(correlation.shape[1]) + _shortest_lag(rate_hz) - 1
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
    track.f0_hz[heard] = np.where(strength >= _VOICED, pitch_hz, np.nan)
    track.f0_hz[:] = _smooth(_without_short_runs(track.f0_hz))
    track.periodicity[heard] = np.clip(strength, 0.0, 1.0)
    track.periodicity[~track.voiced] = 0.0
    track.power[heard] = power
    return track


def cycle_peaks(track: PitchTrack, waveform: Float32, rate_hz: int) -> tuple[Float64, Float64]:
    """Find the peaks of three neighbouring cycles in the middle of every voiced frame.

    Args:
        track: From ``track_pitch``.
        waveform: float32 (sample,), the same.
        rate_hz: Samples per second.

    Returns:
        Times in samples and heights, float64 (3, voiced frame).
    """
    # Smoothing keeps hiss and formants from moving the peaks.
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
    """Find the top of every stretch of a waveform with one more sample at both ends."""
    first = np.rint(start).astype(np.int64)
    length = np.rint(width).astype(np.int64)
    offset = np.arange(length.max(initial=1))
    index = np.clip(first[:, np.newaxis] + offset, 0, len(padded) - 3)
    values = np.where(offset < length[:, np.newaxis], padded[index + 1], -np.inf)
    top = index[np.arange(len(index)), values.argmax(axis=1)]
    left, middle, right = (padded[top + step].astype(np.float64) for step in range(3))
    shift, height = _parabola_peak(left, middle, right)
    return top + shift, height


def _shortest_lag(rate_hz: int) -> int:
    return int(rate_hz / HIGHEST_HZ)


def _autocorrelation(
    waveform: Float32, centres: npt.NDArray[np.int64], rate_hz: int
) -> tuple[Float32, Float32]:
    """Return power (frame, bin) and autocorrelation (frame, lag), over that of the window.

    Source:
        Boersma 1993, equation 9.
    """
    length = round(_PERIODS * rate_hz / LOWEST_HZ)
    first, last = _shortest_lag(rate_hz) - 1, int(np.ceil(rate_hz / LOWEST_HZ)) + 1
    n_fft = _fast_length(length + last)  # So that the ends do not meet within the lags.
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2)[: last + 1]
    normal = (of_window[0] / of_window[first : last + 1]).astype(np.float32)

    padded = np.pad(waveform, (length // 2, length - length // 2))
    frames = sliding_window_view(padded, length)
    power = np.empty((len(centres), n_fft // 2 + 1), dtype=np.float32)
    correlation = np.empty((len(centres), last + 1 - first), dtype=np.float32)
    for start in range(0, len(centres), _FRAMES_AT_ONCE):
        rows = slice(start, start + _FRAMES_AT_ONCE)
        stretch = frames[centres[rows]]
        stretch = (stretch - stretch.mean(axis=1, keepdims=True)) * window
        spectrum = np.fft.rfft(stretch, n_fft)
        power[rows] = spectrum.real**2 + spectrum.imag**2
        lagged = np.fft.irfft(power[rows], n_fft)
        correlation[rows] = lagged[:, first : last + 1] / np.maximum(lagged[:, :1], _TINY)
    return power, correlation * normal


def _fast_length(least: int) -> int:
    """Return the smallest even number from ``least`` on without prime factors above 5."""
    length = least + least % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def _peak_scores(correlation: Float32, lags: npt.NDArray[np.int64]) -> Float32:
    """Return the strengths of candidates (frame, inner lag), minus infinity beside the peaks."""
    inner = correlation[:, 1:-1]
    is_peak = (inner >= correlation[:, :-2]) & (inner > correlation[:, 2:])
    cost = _OCTAVE_COST * np.log2(lags[1:-1] / lags[-2])
    return np.where(is_peak, inner - cost.astype(np.float32), np.float32(-np.inf))


def _best_peaks(
    scores: Float32, correlation: Float32, lags: npt.NDArray[np.int64], rate_hz: int
) -> tuple[Float64, Float64]:
    """Return frequency and height of the best peak of every frame, by a parabola through it."""
    rows = np.arange(len(scores))
    best = scores.argmax(axis=1)
    found = np.isfinite(scores[rows, best])
    left, middle, right = (correlation[rows, best + step].astype(np.float64) for step in range(3))
    shift, height = _parabola_peak(left, middle, right)
    frequency_hz = np.clip(rate_hz / (lags[best + 1] + shift), LOWEST_HZ, HIGHEST_HZ)
    return frequency_hz, np.where(found, height, 0.0)


def _parabola_peak(left: Float64, middle: Float64, right: Float64) -> tuple[Float64, Float64]:
    """Return where the parabola through neighbours is highest, in [-0.5, 0.5], and its height."""
    bend = left - 2.0 * middle + right
    slope = 0.5 * (left - right)
    shift = np.where(bend < 0, slope / np.where(bend < 0, bend, 1.0), 0.0)
    shift = np.clip(shift, -0.5, 0.5)
    return shift, middle - 0.5 * slope * shift


def _without_short_runs(f0_hz: Float64) -> Float64:
    """Unvoice runs that are too short to be a voice."""
    kept = f0_hz.copy()
    for start, end in runs(np.isfinite(f0_hz)):
        if end - start < _LEAST_RUN:
            kept[start:end] = np.nan
    return kept


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and past-the-end index of every stretch of true values.

    >>> runs(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _smooth(f0_hz: Float64) -> Float64:
    """Return the median of the voiced frames around each voiced one."""
    around = np.pad(f0_hz, _SMOOTHED_FRAMES // 2, constant_values=np.nan)
    ordered = np.sort(sliding_window_view(around, _SMOOTHED_FRAMES), axis=1)  # NaN comes last.
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(f0_hz))
    upper = ordered[rows, count // 2]
    lower = ordered[rows, np.maximum(count - 1, 0) // 2]
    return np.where(np.isfinite(f0_hz), 0.5 * (lower + upper), np.nan)
