"""The log-mel spectrogram.

It is not normalised per clip, so loudness is preserved. Frames and mel bands are librosa's: centred
frames, zero padding, Slaney's scale, bands of unit area.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from mmperson.preprocessing.audio.sound import SoundSpec
from mmperson.preprocessing.audio.spectrum import Float32, mel_filters
from mmperson.preprocessing.audio.waveform import check_waveform

_LEAST_POWER: Final = np.float32(
    1e-6
)  # Keeps the logarithm of silence finite and of faint noise small.
_FRAMES_AT_ONCE: Final = 128  # So that intermediate values fit the processor's cache.


class LogMelSpec(SoundSpec):
    """A log-mel spectrogram.

    Attributes:
        window_length: Samples of the analysis window, by default 25 ms.
        n_fft: Samples per frame, the window in the middle.
        hop_length: Samples between frames, by default 10 ms.
    """

    may_be_shorter: ClassVar[bool] = True
    augmentation: ClassVar[str | None] = "log_power"
    description: ClassVar[str] = "log-mel spectrogram"

    kind: Literal["log_mel"] = "log_mel"
    window_length: int = Field(400, ge=16, le=16_384)
    n_fft: int = Field(512, ge=64, le=16_384)
    hop_length: int = Field(160, ge=16, le=16_384)
    n_mels: int = Field(64, ge=8, le=512)

    @property
    def shape(self) -> tuple[int, ...]:
        """(time, mel)."""
        return (1 + self.samples // self.hop_length, self.n_mels)

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> Float32:
        """Compute the spectrogram, float32 (time, mel)."""
        return log_mel(waveform, self)


def log_mel(waveform: npt.NDArray[Any], spec: LogMelSpec) -> Float32:
    """Compute the log-mel spectrogram of the first ``window_s`` seconds of a waveform.

    Args:
        waveform: float32 or float64 (sample,), mono at ``spec.source_rate_hz``, full scale 1.
        spec: The settings; ``spec.window_length`` is at most ``spec.n_fft``.

    Returns:
        float32 (time, mel): natural logarithm of mel power + 1e-6, from -13.8 for silence to about
        6 for a tone at full scale. A frame is centred on every ``spec.hop_length``-th sample, from
        the first on.

    Raises:
        UsageError: The waveform is empty, not finite, or far beyond full scale.

    Source:
        Stevens, Volkmann and Newman, A scale for the measurement of the psychological magnitude
        pitch, Journal of the Acoustical Society of America 8, 1937; the bands are Slaney's.
    """
    check_waveform(waveform)
    waveform = waveform[: spec.samples].astype(np.float32)
    # The transform appends the zeros that librosa puts on both sides of the window: this shifts the
    # phase and keeps the power.
    before = spec.n_fft // 2 - (spec.n_fft - spec.window_length) // 2
    padded = np.pad(waveform, (before, spec.window_length - before))
    frames = sliding_window_view(padded, spec.window_length)[:: spec.hop_length]
    window = np.hanning(spec.window_length + 1)[:-1].astype(np.float32)
    filters = mel_filters(spec.source_rate_hz, spec.n_fft, spec.n_mels)
    mel = np.empty((len(frames), spec.n_mels), dtype=np.float32)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        rows = slice(start, start + _FRAMES_AT_ONCE)
        spectrum = np.fft.rfft(frames[rows] * window, spec.n_fft)
        mel[rows] = (spectrum.real**2 + spectrum.imag**2) @ filters
    np.log(mel + _LEAST_POWER, out=mel)
    return mel
