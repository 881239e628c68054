"""Collect a window of decoded audio as a mono waveform at one sample rate.

Time is the clip's clock, the one that the frames use. A stream that starts late yields a waveform
that starts late (``start_s`` of the result says when): no silence is invented before it or after
its end, because descriptors would measure it as speech. A gap inside the stream is filled with
silence, so that what follows stays at its time. Downmixing is the mean over channels and comes
before resampling (soxr HQ): both as librosa does it.
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
# Beyond these the resampler's filters grow without use; no microphone records so.
_RATES_HZ = (1_000, 768_000)
# PyAV (18.1) counts planes up to a null pointer, which the list lacks from eight on: it would read
# beyond the list's end, and the process would crash.
_TOO_MANY_PLANES = 8
# 36 dB above full scale. Lossy codecs overshoot a little; what is far above is no sound, and the
# largest numbers would overflow in the resampler.
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
        """Return the same part of a span: it starts with the span, and ends with it at the latest.

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
        if not 0 <= self.start_s < float("inf"):
            raise UsageError(f"AudioWindow.start_s is {self.start_s}; it must be 0 or more.")
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
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
    if frame.format.name == "fltp":  # What AAC decodes to, in an eighth of the time of the rest.
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


@np.errstate(over="ignore", invalid="ignore")  # the collector sees to what is not finite
def _mean(channels: Sequence[Waveform] | Waveform) -> Waveform:
    """Do what ``mean`` does, without its checks: they cost as much again for frames this short."""
    average: Waveform = reduce(np.add, channels) / np.float32(len(channels))
    return average


def _packed(frame: AudioFrame) -> AudioFrame:
    """Return the same samples in one plane, channel after channel."""
    resampler = av.AudioResampler(format=frame.format.packed, layout=frame.layout)
    (packed,) = [found for found in resampler.resample(frame) if found is not None]
    return packed


class WaveformCollector:
    """Collect the samples of a window from frames that arrive in order.

    Args:
        window: Which part of the audio to collect.
        limits: Samples and seconds beyond which the clip is refused.

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
        self._first = 0  # position of the first sample that was kept

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether a packet ends so far before the window that it need not be decoded."""
        # Packets round their length: ``add`` decides which frame comes first.
        return end_s < self.window.start_s - _RUN_UP_S - _JITTER_S

    def add(self, frame: AudioFrame, time_s: float | None) -> None:
        """Take the next frame.

        Args:
            frame: The decoded frame.
            time_s: Seconds on the clip's clock, None if unknown: then it follows the one before.

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
        if time_s is not None:
            end_s = time_s + frame.samples / frame.sample_rate
            if end_s < self.window.start_s - _RUN_UP_S:
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
        """Return what was collected, resampled.

        Returns:
            float32 (sample,) in [-1, 1] and the time of its first sample in seconds on the clip's
            clock, or None if no sample lies in the window.
        """
        if not self._chunks:
            return None
        waveform = np.concatenate(self._chunks)
        peak = max(waveform.max(), -waveform.min())
        if not peak <= _LARGEST:  # nor is it if there is one that is not a number
            self.problem = (
                f"it has samples that are not numbers, or beyond {_LARGEST:g} times full scale; "
                "they were set to zero"
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
