"""The log-mel spectrogram: how much sound there is at which pitch and when.

Nothing is normalised per clip, so that loudness stays visible. Frames and mel bands are librosa's
(centred frames, zeros beyond the ends, Slaney's scale, bands of unit area).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from mmperson.preprocessing.audio.spectrum import Float32, mel_filters
from mmperson.preprocessing.audio.waveform import check_waveform
from mmperson.preprocessing.spec import DescriptorSpec, LogMelSpec

_LEAST_POWER: Final = np.float32(1e-6)  # Keeps silence finite, and its noise from being magnified.
_FRAMES_AT_ONCE: Final = 128  # Their intermediate values fit the processor's cache.


def log_mel(waveform: npt.NDArray[Any], spec: LogMelSpec) -> Float32:
    """Measure the logarithmic mel spectrum of the first ``window_s`` seconds of a waveform.

    Args:
        waveform: float32 or float64 (sample,), mono at ``spec.source_rate_hz``, full scale 1.
        spec: The settings; ``spec.window_length`` is at most ``spec.n_fft``.

    Returns:
        float32 (time, mel): natural logarithms of mel power + 1e-6, from -13.8 for silence to
        about 6 for a tone at full scale. A frame is centred on every ``spec.hop_length``-th sample,
        the first included; shorter sound has fewer frames.

    Raises:
        UsageError: The waveform is empty, not finite, or not on the scale.

    Source:
        Stevens, Volkmann and Newman, A scale for the measurement of the psychological magnitude
        pitch, Journal of the Acoustical Society of America 8, 1937; the bands are Slaney's.
    """
    check_waveform(waveform)
    waveform = waveform[: round(spec.window_s * spec.source_rate_hz)].astype(np.float32)
    # Only samples under the window matter: the zeros around it are appended by the transform, which
    # shifts the phase and leaves the power.
    before = spec.n_fft // 2 - (spec.n_fft - spec.window_length) // 2
    padded = np.pad(waveform, (before, spec.window_length - before))
    frames = sliding_window_view(padded, spec.window_length)[:: spec.hop_length]
    window = np.hanning(spec.window_length + 1)[:-1].astype(np.float32)
    filters = mel_filters(_filter_spec(spec))
    mel = np.empty((len(frames), spec.n_mels), dtype=np.float32)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        rows = slice(start, start + _FRAMES_AT_ONCE)
        spectrum = np.fft.rfft(frames[rows] * window, spec.n_fft)
        mel[rows] = (spectrum.real**2 + spectrum.imag**2) @ filters
    np.log(mel + _LEAST_POWER, out=mel)
    return mel


def _filter_spec(spec: LogMelSpec) -> DescriptorSpec:
    """Say what the filter bank depends on in the terms that it is built from."""
    rate_hz = spec.source_rate_hz
    return DescriptorSpec(
        source_rate_hz=rate_hz,
        sample_rate_hz=rate_hz,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        n_mfcc=1,
    )
