"""The 26 acoustic descriptors that First Impressions V2 publishes.

Each is a mean over the frames of the first seconds. The definitions are librosa's. The code needs
only numpy, computes one spectrum for all descriptors and takes about 10 ms for 7 s of audio.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field, model_validator

from mmperson.preprocessing.audio.pitch_tuning import estimate_tuning
from mmperson.preprocessing.audio.sound import SoundSpec
from mmperson.preprocessing.audio.spectrum import (
    Float32,
    Float64,
    bin_frequencies_hz,
    chroma_filters,
    cosine_basis,
    mel_filters,
    overlapping_frames,
    power_spectrum,
)
from mmperson.preprocessing.audio.waveform import check_waveform, to_analysis_rate
from mmperson.preprocessing.modality import FeatureTable

DESCRIPTORS: Final = (
    "chroma_stft",
    "rms",
    "spectral_centroid",
    "spectral_bandwidth",
    "spectral_rolloff",
    "zero_crossing_rate",
    *(f"mfcc{number}" for number in range(1, 21)),
)
"""Names of the descriptors, in order; the published tables call two of them rmse and rolloff."""

_ROLLOFF_SHARE: Final = 0.85
_NEAR_ZERO: Final = 1e-10  # A sample this close to zero has no sign.
_LEAST_POWER: Final = 1e-10  # -100 dB
_RANGE_DB: Final = 80.0
_TINY: Final = np.finfo(np.float32).tiny


class DescriptorSpec(SoundSpec):
    """Twenty-six acoustic descriptors of a clip.

    Means over time of librosa's chroma, RMS, spectral centroid, bandwidth, roll-off, zero-crossing
    rate and 20 MFCCs, in that order. The defaults reproduce the published features of First
    Impressions V2: 16-bit stereo at 44,100 Hz, decimated by two, librosa before version 0.10.

    Attributes:
        source_rate_hz: Sample rate of the decoded audio, a multiple of ``sample_rate_hz``.
        sample_rate_hz: Sample rate of the analysis.
        n_fft: Samples per frame.
        hop_length: Samples between frames.
        padding: Padding at both ends. librosa before 0.10 used ``reflect``, now ``constant``.
        mono_gain: Factor for recordings with one channel. FFmpeg spreads one channel over two at
            constant power, so the published features of mono recordings are 3 dB lower.
    """

    description: ClassVar[str] = "26 acoustic descriptors"

    encoder = "vector"

    kind: Literal["librosa26"] = "librosa26"
    source_rate_hz: int = Field(44_100, ge=8_000, le=192_000)
    sample_rate_hz: int = Field(22_050, ge=8_000, le=48_000)
    window_s: float = Field(7.0, gt=0, le=600)
    n_fft: int = Field(2048, ge=64, le=16_384)
    hop_length: int = Field(512, ge=16, le=16_384)
    n_mels: int = Field(128, ge=8, le=512)
    n_mfcc: int = Field(20, ge=1, le=128)
    padding: Literal["reflect", "constant"] = "reflect"
    mono_gain: float = Field(0.5**0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source_rate_hz % self.sample_rate_hz:
            raise ValueError(
                f"source_rate_hz ({self.source_rate_hz}) must be a multiple of "
                f"sample_rate_hz ({self.sample_rate_hz})"
            )
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) must not exceed n_mels ({self.n_mels})")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """(descriptor,)."""
        return (6 + self.n_mfcc,)

    def published(self, table: FeatureTable, row: int) -> npt.NDArray[np.float32] | None:
        """Return a row's descriptors, or None if one is unknown."""
        values = table.descriptors[row]
        return values.astype(np.float32) if np.isfinite(values).all() else None

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> Float32:
        """Compute the descriptors at ``sample_rate_hz``, float32 (descriptor,)."""
        if mono:
            waveform = waveform * np.float32(self.mono_gain)
        return acoustic_descriptors(to_analysis_rate(waveform, self), self)


def acoustic_descriptors(waveform: npt.NDArray[Any], spec: DescriptorSpec) -> Float32:
    """Compute the descriptors of the first ``window_s`` seconds of a waveform.

    Args:
        waveform: float32 or float64 (sample,), mono at ``spec.sample_rate_hz``, full scale 1.
        spec: The settings.

    Returns:
        float32 (descriptor,) in the order of ``DESCRIPTORS``: chroma in [0, 1], RMS with full scale
        1, centroid, bandwidth and roll-off in hertz, zero crossings per sample, MFCCs of decibels.
        Silence gives finite values.

    Raises:
        UsageError: The waveform is empty, not finite, or far beyond full scale.
    """
    check_waveform(waveform)
    samples = round(spec.window_s * spec.sample_rate_hz)
    waveform = waveform[:samples].astype(np.float32)
    frames = overlapping_frames(waveform, spec)
    power = power_spectrum(frames)
    magnitude = np.sqrt(power)
    values = [
        _mean_chroma(power, spec),
        _mean_rms(frames),
        *_mean_centroid_and_bandwidth(magnitude, spec),
        _mean_rolloff(magnitude, spec),
        _mean_zero_crossing_rate(waveform, spec),
        *_mean_mfcc(power, spec),
    ]
    return np.array(values, dtype=np.float32)


def _mean_chroma(power: Float32, spec: DescriptorSpec) -> float:
    """Pitch classes relative to the strongest, averaged over classes and frames."""
    chroma = power @ chroma_filters(spec, estimate_tuning(power, spec))
    strongest = chroma.max(axis=1, keepdims=True)
    return float((chroma / _divisor(strongest)).mean(dtype=np.float64))


def _mean_rms(frames: Float32) -> float:
    """Root mean square of a frame."""
    mean_square = np.einsum("fs,fs->f", frames, frames) / frames.shape[1]
    return float(np.sqrt(mean_square).mean(dtype=np.float64))


def _mean_centroid_and_bandwidth(magnitude: Float32, spec: DescriptorSpec) -> tuple[float, float]:
    """Mean and standard deviation of frequency, weighted by magnitude."""
    frequency = bin_frequencies_hz(spec.sample_rate_hz, spec.n_fft)
    # In double precision: the bandwidth is the difference of two large numbers.
    moments = magnitude @ np.stack([np.ones_like(frequency), frequency, frequency**2], axis=1)
    total, first, second = moments.T
    total = _divisor(total)
    centroid = first / total
    variance = np.maximum(second / total - centroid**2, 0.0)
    return float(centroid.mean()), float(np.sqrt(variance).mean())


def _mean_rolloff(magnitude: Float32, spec: DescriptorSpec) -> float:
    """Lowest frequency below which 85 % of the magnitude lies."""
    cumulative = np.cumsum(magnitude, axis=1)
    reached = cumulative >= _ROLLOFF_SHARE * cumulative[:, -1:]
    return float(bin_frequencies_hz(spec.sample_rate_hz, spec.n_fft)[reached.argmax(axis=1)].mean())


def _mean_zero_crossing_rate(waveform: Float32, spec: DescriptorSpec) -> float:
    """Sign changes per sample, with edge padding."""
    padded = np.pad(waveform, spec.n_fft // 2, mode="edge")
    negative = padded < -_NEAR_ZERO
    crossings = negative[1:] != negative[:-1]
    per_frame = sliding_window_view(crossings, spec.n_fft - 1)[:: spec.hop_length].sum(axis=1)
    return float(per_frame.mean() / spec.n_fft)


def _mean_mfcc(power: Float32, spec: DescriptorSpec) -> Float64:
    """Cosine transform of the mel spectrum in decibels, clipped 80 dB below its peak."""
    mel = power @ mel_filters(spec.sample_rate_hz, spec.n_fft, spec.n_mels)
    decibel = 10.0 * np.log10(np.maximum(mel, _LEAST_POWER))
    decibel = np.maximum(decibel, decibel.max() - _RANGE_DB)
    # The transform is linear, so it can follow the mean over time.
    mean_decibel = decibel.mean(axis=0, dtype=np.float64)
    return np.asarray(cosine_basis(spec.n_mels, spec.n_mfcc) @ mean_decibel)


def _divisor(total: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Replace totals that are too small to divide by with 1."""
    return np.where(total < _TINY, total.dtype.type(1), total)
