"""Collect a window of decoded audio as a mono waveform at one sample rate.

Times are on the clip's clock, as those of the frames. A stream that starts late yields a waveform
that starts late: no silence is added before or after it, because descriptors would measure it as
speech. A gap inside the stream is filled with silence, so that later samples keep their time.
Downmixing is the mean over channels and comes before resampling (soxr HQ), as in librosa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import inf
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
import soxr

from mmperson.errors import UsageError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

    from mmperson.media.clip import Span
    from mmperson.media.limits import MediaLimits

Waveform = npt.NDArray[np.float32]

# Containers round timestamps to milliseconds or to packets: a difference below this is no gap.
_JITTER_S = 0.05
# A decoder started this long before the window has settled when the window begins.
_RUN_UP_S = 0.5
# Beyond these the resampler's filters grow without use; no microphone has such a rate.
_RATES_HZ = (1_000, 768_000)
# PyAV (18.1) counts planes up to a null pointer, which the list lacks from eight on: it would read
# beyond the list's end, and the process would crash.
_TOO_MANY_PLANES = 8
# 36 dB above full scale. Lossy codecs overshoot a little; values far above are not audio, and the
# largest would overflow in the resampler.
_LARGEST = 64.0


@dataclass(frozen=True)
class AudioWindow:
    """Which part of the audio to read.

    Attributes:
        sample_rate_hz: Samples per second of the waveform.
        start_s: Start in seconds on the clip's clock.
        duration_s: Length in seconds; None for all the rest.
    """

    sample_rate_hz: int
    start_s: float = 0.0
    duration_s: float | None = None

    def within(self, span: Span) -> AudioWindow:
        """Return the same window relative to the start of a span, cut off at its end.

        Raises:
            UsageError: The span ends before the window starts.
        """
        start_s = span.start_s + self.start_s
        left_s = span.end_s - start_s
        duration_s = left_s if self.duration_s is None else min(self.duration_s, left_s)
        return AudioWindow(self.sample_rate_hz, start_s, None if duration_s == inf else duration_s)

    def __post_init__(self) -> None:
        low, high = _RATES_HZ
        if not low <= self.sample_rate_hz <= high:
            raise UsageError(
                f"AudioWindow.sample_rate_hz is {self.sample_rate_hz}; {low} to {high} are allowed."
            )
        if not 0 <= self.start_s < inf:
            raise UsageError(f"AudioWindow.start_s is {self.start_s}; it must be 0 or more.")
        if self.duration_s is not None and not 0 < self.duration_s < inf:
            raise UsageError(f"AudioWindow.duration_s is {self.duration_s}; it must be above 0.")


def to_mono(frame: AudioFrame) -> Waveform:
    """Return a decoded frame of any sample format as the mean of its channels.

    Args:
        frame: A decoded frame.

    Returns:
        float32 (sample,); integer formats are scaled to [-1, 1).
    """
    if frame.format.is_planar and frame.layout.nb_channels >= _TOO_MANY_PLANES:
        frame = _packed(frame)
    if frame.format.name == "fltp":  # AAC decodes to this; eight times as fast as the rest.
        planes = [np.frombuffer(memoryview(x), np.float32, frame.samples) for x in frame.planes]
        return planes[0] if len(planes) == 1 else _mean(planes)
    data: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    scale = 1.0 if data.dtype.kind == "f" else float(np.iinfo(data.dtype).max) + 1.0
    if data.dtype.kind == "u":  # 8-bit samples are the only unsigned ones
        data, scale = data.astype(np.float32) - 128.0, 128.0
    with np.errstate(over="ignore"):
        data = data.astype(np.float32, copy=False)
    mono = _mean(data)
    return mono if scale == 1.0 else mono / np.float32(scale)


@np.errstate(over="ignore", invalid="ignore")  # the collector handles non-finite samples
def _mean(channels: Sequence[Waveform] | Waveform) -> Waveform:
    """Return the mean over channels; ``np.mean`` takes twice as long for short frames."""
    average: Waveform = reduce(np.add, channels) / np.float32(len(channels))
    return average


def _packed(frame: AudioFrame) -> AudioFrame:
    """Return the same samples in one plane, with the channels interleaved."""
    resampler = av.AudioResampler(format=frame.format.packed, layout=frame.layout)
    (packed,) = (each for each in resampler.resample(frame) if each is not None)
    return packed


class WaveformCollector:
    """Collect the samples of a window from frames that arrive in order.

    Args:
        window: Which part of the audio to collect.
        limits: Largest numbers of samples and seconds.

    Attributes:
        window: Which part of the audio to collect.
        done: Whether nothing more is needed.
        problem: Why the audio is incomplete or unusable, None if it is fine.
    """

    def __init__(self, window: AudioWindow, limits: MediaLimits) -> None:
        self.done = False
        self.problem: str | None = None
        self.window = window
        self._limits = limits
        self._chunks: list[Waveform] = []
        self._rate_hz = 0
        self._decoded = 0
        self._next = 0  # position after the last frame, in samples from the window's start
        self._first = 0  # position of the first collected sample

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether a packet ends too early to be decoded."""
        # Packets round their length: ``add`` decides which frame comes first.
        return end_s < self.window.start_s - _RUN_UP_S - _JITTER_S

    def add(self, frame: AudioFrame, time_s: float | None) -> None:
        """Take the next frame.

        Args:
            frame: The decoded frame.
            time_s: Seconds on the clip's clock; None if unknown: right after the frame before.

        Raises:
            MediaTooLarge: More samples or seconds than allowed.
        """
        if self.done:
            return
        if self._rate_hz and frame.sample_rate != self._rate_hz:
            self._stop(f"its sample rate changes from {self._rate_hz} to {frame.sample_rate} Hz")
            return
        if not _RATES_HZ[0] <= frame.sample_rate <= _RATES_HZ[1]:
            self._stop(f"its sample rate is {frame.sample_rate} Hz")
            return
        length_s = frame.samples / frame.sample_rate
        if time_s is not None and time_s + length_s < self.window.start_s - _RUN_UP_S:
            return
        self._decoded += frame.samples
        self._limits.check("max_samples", self._decoded)
        self._limits.check("max_duration_s", self._decoded / frame.sample_rate)

        at = self._position(frame.sample_rate, time_s)
        self._rate_hz = frame.sample_rate
        length = self._window_length()
        if self._chunks and at > self._next:
            until = at if length is None else min(at, length)
            self._limits.check("max_samples", until)
            self._chunks.append(np.zeros(until - self._next, dtype=np.float32))
        begin = max(at, 0)
        end = None if length is None else max(length - at, 0)
        mono = to_mono(frame)[begin - at : end]
        if mono.size:
            if not self._chunks:
                self._first = begin
            self._chunks.append(mono)
        self._next = at + frame.samples
        self.done = length is not None and self._next >= length

    def finish(self) -> tuple[Waveform, float] | None:
        """Return the collected samples, resampled.

        Returns:
            float32 (sample,) in [-1, 1] and the time of its first sample in seconds on the clip's
            clock, or None if no sample lies in the window.
        """
        if not self._chunks:
            return None
        waveform = np.concatenate(self._chunks)
        peak = max(waveform.max(), -waveform.min())
        if not peak <= _LARGEST:  # also if a sample is NaN
            self.problem = (
                f"samples that are NaN or above {_LARGEST:g} times full scale were set to zero"
            )
            waveform[~(np.abs(waveform) <= _LARGEST)] = 0.0
        rate_hz = self.window.sample_rate_hz
        if self._rate_hz != rate_hz:
            waveform = soxr.resample(waveform, self._rate_hz, rate_hz, quality="HQ")
        if self.window.duration_s is not None:
            waveform = waveform[: round(self.window.duration_s * rate_hz)]
        np.clip(waveform, -1.0, 1.0, out=waveform)  # lossy codecs overshoot full scale
        return waveform, self.window.start_s + self._first / self._rate_hz

    def _window_length(self) -> int | None:
        """Return the window's length in the file's own samples."""
        duration_s = self.window.duration_s
        return None if duration_s is None else max(round(duration_s * self._rate_hz), 1)

    def _position(self, rate_hz: int, time_s: float | None) -> int:
        """Return where a frame belongs, in samples from the window's start."""
        if time_s is None:
            return self._next if self._rate_hz else -round(self.window.start_s * rate_hz)
        at = round((time_s - self.window.start_s) * rate_hz)
        if self._rate_hz and at - self._next <= _JITTER_S * rate_hz:
            return self._next  # contiguous, or a step back: samples are kept in file order
        return at

    def _stop(self, problem: str) -> None:
        self.problem = problem
        self.done = True
