"""Windows of a long recording: plan them, and read all of them in one pass."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any, Final, Generic, TypeVar

from mmperson.errors import UsageError
from mmperson.media.audio import AudioWindow
from mmperson.media.clip import Clip, Span
from mmperson.media.decode import Decode, FrameSink, Threads
from mmperson.media.limits import LONG_LIMITS, MediaLimits
from mmperson.media.read import ReadRequest, open_reader

SinkT = TypeVar("SinkT", bound=FrameSink)

MIN_WINDOW_S: Final = 1.0
"""Shorter windows carry little information."""
_MAX_OVERLAPPING: Final = 16
# Streams end up to about this long before or after the declared end.
_MIN_NEW_S: Final = 0.5
# With so many complete windows of video, or so much later audio, a window stops waiting.
_MAX_WAITING: Final = 8
_MAX_LEAD_S: Final = 60.0


def check_windows(window_s: float, step_s: float) -> None:
    """Check the length and the step of windows.

    Args:
        window_s: Length of a window in seconds.
        step_s: From one start to the next, in seconds.

    Raises:
        UsageError: Windows that are too short, or too many that overlap.
    """
    if not MIN_WINDOW_S <= window_s < inf:
        raise UsageError(f"Windows last {window_s:g} s; they must last {MIN_WINDOW_S:g} s or more.")
    least_s = max(MIN_WINDOW_S, window_s / _MAX_OVERLAPPING)
    if not least_s <= step_s < inf:
        raise UsageError(
            f"Windows of {window_s:g} s start every {step_s:g} s; the step must be {least_s:g} s "
            f"or more, so that no more than {_MAX_OVERLAPPING} overlap."
        )


def plan_windows(duration_s: float, window_s: float, step_s: float) -> list[Span]:
    """Return windows of one length that start at 0 and then every ``step_s``.

    The last window ends with the recording; it is omitted if less than half a second of it would be
    new. A recording shorter than a window is one window.

    Args:
        duration_s: Length of the recording in seconds.
        window_s: Length of a window in seconds.
        step_s: From one start to the next, in seconds.

    >>> [(span.start_s, span.end_s) for span in plan_windows(26.0, 10.0, 10.0)]
    [(0.0, 10.0), (10.0, 20.0), (16.0, 26.0)]
    """
    if duration_s <= window_s:
        return [Span(0.0, duration_s if duration_s > 0 else window_s)]
    whole = int((duration_s - window_s) // step_s) + 1
    spans = [Span(number * step_s, number * step_s + window_s) for number in range(whole)]
    if whole * step_s < duration_s and duration_s - spans[-1].end_s >= _MIN_NEW_S:
        spans.append(Span(duration_s - window_s, duration_s))
    return spans


def read_windows(
    path: str | os.PathLike[str],
    window_s: float,
    step_s: float | None = None,
    *,
    frames: int = 0,
    audio: AudioWindow | None = None,
    decode: Decode = "exact",
    threads: Threads = "auto",
    limits: MediaLimits = LONG_LIMITS,
) -> Iterator[Clip]:
    """Read a recording window by window, in one pass.

    Each clip is what ``read_clip`` returns for its ``span``. Memory holds the windows that overlap,
    however long the recording is.

    Args:
        path: A local file.
        window_s: Length of a window in seconds, see ``plan_windows``.
        step_s: From the start of one window to that of the next, in seconds; None for ``window_s``.
        frames: Frames per window.
        audio: Which part of each window's audio, at which rate.
        decode: Which frames of the video are decoded.
        threads: FFmpeg's threading of video.
        limits: What is refused.

    Returns:
        The clips, read lazily. If audio and video of the same time are so far apart in the file
        that waiting would fill the memory, a clip has only what was decoded by then.

    Raises:
        UsageError: Windows that are too short or too many, or see ``read_clip``.
        MediaError: See ``read_clip``; also during iteration.
    """
    step_s = window_s if step_s is None else step_s
    check_windows(window_s, step_s)
    request = ReadRequest(frames, audio, decode, threads, limits)
    return _read_windows(path, request, window_s, step_s)


def _read_windows(
    path: str | os.PathLike[str], request: ReadRequest, window_s: float, step_s: float
) -> Iterator[Clip]:
    with open_reader(path, request) as reader:
        end_s = reader.info.duration_s if reader.scan.end_s is None else reader.scan.end_s
        spans = plan_windows(end_s or 0.0, window_s, step_s)
        video = audio = None
        if reader.video_stream is not None:
            video = WindowFanout(spans, reader.new_picker, _MAX_WAITING)
        if reader.audio_stream is not None:
            audio = WindowFanout(spans, reader.new_collector)

        def is_due(span: Span) -> bool:
            """Return whether the earliest window is complete, or no longer waits for a stream."""
            decoders = (reader.video, reader.audio)
            return (
                all(each is None or each.drained or each.sink.ready for each in decoders)
                or (video is not None and video.waiting > _MAX_WAITING)
                or (reader.audio is not None and reader.audio.last_s > span.end_s + _MAX_LEAD_S)
            )

        def build(span: Span) -> Clip:
            picker = None if video is None else video.take()
            collector = None if audio is None else audio.take()
            return reader.build_clip(span, picker, collector)

        unread = deque(spans)
        for _ in reader.decode(spans, video, audio):
            while unread and is_due(unread[0]):
                yield build(unread.popleft())
        while unread:
            yield build(unread.popleft())


class WindowFanout(Generic[SinkT]):
    """Passes the frames of one stream to the sinks of successive spans, which may overlap.

    A sink is made when the span before it begins: it may need the last frame before its own span.
    So there are as many sinks as spans overlap, plus one ahead, plus those not yet taken. After a
    gap, one frame ends many spans: their sinks are made as those before them are taken.

    Args:
        spans: The spans, by their start.
        make: Returns the sink of a span.
        max_waiting: If more sinks than this are done, the next one is made when one of them is
            taken.
    """

    def __init__(
        self, spans: Sequence[Span], make: Callable[[Span], SinkT], max_waiting: float = inf
    ) -> None:
        self._spans = spans
        self._make = make
        self._max_waiting = max_waiting
        self._made = 0
        self._sinks: deque[SinkT] = deque()
        self._held: deque[tuple[Any, float | None]] = deque()  # not passed on yet
        # A sink that is made late may need the last two frames.
        self._recent: deque[tuple[Any, float | None]] = deque(maxlen=2)
        self._make_next()

    @property
    def done(self) -> bool:
        """Whether every sink was made and is done."""
        return self._made == len(self._spans) and all(sink.done for sink in self._sinks)

    @property
    def ready(self) -> bool:
        """Whether the sink that ``take`` returns is done."""
        return bool(self._sinks) and self._sinks[0].done

    @property
    def waiting(self) -> int:
        """Number of sinks that are done and have not been taken."""
        return sum(sink.done for sink in self._sinks)

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether no sink needs a frame between these times."""
        return not self._is_due() and all(
            sink.done or sink.skips(begin_s, end_s) for sink in self._sinks
        )

    def add(self, frame: Any, time_s: float | None) -> None:
        """Pass on the next frame."""
        self._held.append((frame, time_s))
        self._pass_on()

    def take(self) -> SinkT:
        """Return the sink of the earliest span that has not been taken."""
        if not self._sinks:
            self._make_next()
        sink = self._sinks.popleft()
        for frame, time_s in self._held:
            if not sink.done:
                sink.add(frame, time_s)
        self._pass_on()
        return sink

    def _pass_on(self) -> None:
        """Make the sinks that are due and pass on the held frames, as far as there is room."""
        while True:
            while self._is_due():
                if self.waiting > self._max_waiting:
                    return
                self._make_next()
            if not self._held:
                return
            self._recent.append(self._held.popleft())
            for sink in self._sinks:
                if not sink.done:
                    sink.add(*self._recent[-1])

    def _is_due(self) -> bool:
        """Return whether the span before the next one has begun, or been taken."""
        if self._made == len(self._spans):
            return False
        if not self._sinks or not self._recent:
            return not self._sinks
        _, time_s = self._recent[-1]
        return (time_s or 0.0) >= self._spans[self._made - 1].start_s

    def _make_next(self) -> None:
        sink = self._make(self._spans[self._made])
        for frame, time_s in self._recent:
            if not sink.done:
                sink.add(frame, time_s)
        self._sinks.append(sink)
        self._made += 1
