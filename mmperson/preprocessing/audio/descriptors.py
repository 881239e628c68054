"""Twenty-six numbers that say how a recording sounds, as First Impressions V2 publishes them.

Each is a mean over the frames of the first seconds, so order in time is lost. The definitions are
librosa's; the code needs numpy alone, shares one spectrum between all of them and takes about
10 ms for 7 s.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Self

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
"""Names of the descriptors in their order; the published tables say rmse and rolloff for two."""

_ROLLOFF_SHARE: Final = 0.85
_NEAR_ZERO: Final = 1e-10  # A sample this close to zero has no sign.
_LEAST_POWER: Final = 1e-10  # -100 dB
_RANGE_DB: Final = 80.0
_TINY: Final = np.finfo(np.float32).tiny


class DescriptorSpec(SoundSpec):
    """How a waveform becomes 26 clip-level acoustic descriptors.

    Means over time of librosa's chroma, RMS, spectral centroid, bandwidth, roll-off, zero-crossing
    rate and 20 mel-frequency cepstral coefficients, in that order. The defaults are the settings
    behind the published features of First Impressions V2: a 16-bit stereo file at 44,100 Hz, halved
    in rate and measured by a librosa before version 0.10.

    Attributes:
        kind: Name of the set.
        source_rate_hz: Rate at which sound is read, a multiple of ``sample_rate_hz``.
        sample_rate_hz: Rate that the waveform is resampled to.
        window_s: Only the first seconds count, as in the published features.
        n_fft: Samples per analysis frame.
        hop_length: Samples between frames.
        n_mels: Mel bands under the cepstral coefficients.
        n_mfcc: Number of cepstral coefficients.
        padding: What lies before the start and after the end of the sound. librosa mirrored the
            sound (``reflect``) before version 0.10 and takes zeros (``constant``) since then.
        mono_gain: Factor for recordings with one channel. FFmpeg spreads one channel over two at
            constant power, so that the published features measured those 3 dB lower.
    """

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

    @property
    def description(self) -> str:
        """What the model card says is read."""
        return "26 acoustic descriptors"

    def published(self, table: FeatureTable, row: int) -> npt.NDArray[np.float32] | None:
        """Return the descriptors of a row, unless some are unknown."""
        found = table.descriptors[row]
        return found.astype(np.float32) if np.isfinite(found).all() else None

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> Float32:
        """Measure a waveform at the rate of the published features, float32 (descriptor,)."""
        if mono:
            waveform = waveform * np.float32(self.mono_gain)
        return acoustic_descriptors(to_analysis_rate(waveform, self), self)


def acoustic_descriptors(waveform: npt.NDArray[Any], spec: DescriptorSpec) -> Float32:
    """Measure the first ``window_s`` seconds of a waveform.

    Args:
        waveform: float32 or float64 (sample,), mono at ``spec.sample_rate_hz``, full scale 1.
        spec: The settings.

    Returns:
        float32 (descriptor,) in the order of ``DESCRIPTORS``: chroma in [0, 1], RMS where 1 is full
        scale, centroid, bandwidth and roll-off in hertz, zero crossings per sample, cepstral
        coefficients of decibels. Silence has finite values too.

    Raises:
        UsageError: The waveform is empty, not finite, or not on the scale.
    """
    check_waveform(waveform)
    samples = round(spec.window_s * spec.sample_rate_hz)
    waveform = waveform[:samples].astype(np.float32)
    frames = overlapping_frames(waveform, spec)
    power = power_spectrum(frames)
    magnitude = np.sqrt(power)
    descriptors = [
        _mean_chroma(power, spec),
        _mean_rms(frames),
        *_mean_centroid_and_bandwidth(magnitude, spec),
        _mean_rolloff(magnitude, spec),
        _mean_zero_crossing_rate(waveform, spec),
        *_mean_mfcc(power, spec),
    ]
    return np.array(descriptors, dtype=np.float32)


def _mean_chroma(power: Float32, spec: DescriptorSpec) -> float:
    """Share of the strongest pitch class that a pitch class has, over classes and frames."""
    chroma = power @ chroma_filters(spec, estimate_tuning(power, spec))
    strongest = chroma.max(axis=1, keepdims=True)
    return float((chroma / _divisor(strongest)).mean(dtype=np.float64))


def _mean_rms(frames: Float32) -> float:
    """Root of the mean square of each frame."""
    mean_square = np.einsum("fs,fs->f", frames, frames) / frames.shape[1]
    return float(np.sqrt(mean_square).mean(dtype=np.float64))


def _mean_centroid_and_bandwidth(magnitude: Float32, spec: DescriptorSpec) -> tuple[float, float]:
    """Mean and standard deviation of frequency, weighted by magnitude."""
    frequency = bin_frequencies_hz(spec.sample_rate_hz, spec.n_fft)
    # Double precision, because the bandwidth is the difference of two large numbers.
    moments = magnitude @ np.stack([np.ones_like(frequency), frequency, frequency**2], axis=1)
    total, first, second = moments.T
    total = _divisor(total)
    centroid = first / total
    variance = np.maximum(second / total - centroid**2, 0.0)
    return float(centroid.mean()), float(np.sqrt(variance).mean())


def _mean_rolloff(magnitude: Float32, spec: DescriptorSpec) -> float:
    """Lowest frequency at which the magnitudes up to it make 85 % of all."""
    cumulative = np.cumsum(magnitude, axis=1)
    reached = cumulative >= _ROLLOFF_SHARE * cumulative[:, -1:]
    return float(bin_frequencies_hz(spec.sample_rate_hz, spec.n_fft)[reached.argmax(axis=1)].mean())


def _mean_zero_crossing_rate(waveform: Float32, spec: DescriptorSpec) -> float:
    """Changes of sign per sample; beyond the ends the outermost samples go on."""
    padded = np.pad(waveform, spec.n_fft // 2, mode="edge")
    negative = padded < -_NEAR_ZERO
    crossings = negative[1:] != negative[:-1]
    per_frame = sliding_window_view(crossings, spec.n_fft - 1)[:: spec.hop_length].sum(axis=1)
    return float(per_frame.mean() / spec.n_fft)


def _mean_mfcc(power: Float32, spec: DescriptorSpec) -> Float64:
    """Cosine transform of the mel spectrum in decibels, at most 80 dB below its peak."""
    mel = power @ mel_filters(spec.sample_rate_hz, spec.n_fft, spec.n_mels)
    decibel = 10.0 * np.log10(np.maximum(mel, _LEAST_POWER))
    decibel = np.maximum(decibel, decibel.max() - _RANGE_DB)
    # The transform is linear: that of the mean over time is the mean of the transforms.
    mean_decibel = decibel.mean(axis=0, dtype=np.float64)
    return np.asarray(cosine_basis(spec.n_mels, spec.n_mfcc) @ mean_decibel)


def _divisor(total: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return totals with 1 in place of what is too small to divide by."""
    return np.where(total < _TINY, total.dtype.type(1), total)
