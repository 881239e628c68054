"""Decode several streams of a file in one pass, each no further than it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import av
from av.stream import Discard

from mmperson.media.container import packets

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from mmperson.media.limits import MediaLimits

Threads = Literal["auto", "frame", "slice", "none"]


class Sink(Protocol):
    """What takes the frames of a stream."""

    @property
    def done(self) -> bool:
        """Whether nothing more is needed."""

    def skips(self, end_s: float) -> bool:
        """Return whether a packet that ends at this time need not be decoded."""

    def add(self, frame: Any, time_s: float | None) -> None:
        """Take the next frame, with its time on the clip's clock or None."""


SinkT = TypeVar("SinkT", bound=Sink)


class Lane(Generic[SinkT]):
    """A stream on its way into a sink.

    Args:
        stream: The stream.
        sink: What takes its frames.

    Attributes:
        kind: ``"video"`` or ``"audio"``.
        fed: Packets that were handed to the decoder.
        skipped: Packets that the sink did not need.
        failed: Packets that the decoder refused.
        decoded: Frames that it returned.
        last_s: Time of the last one, in seconds on the clip's clock.
        drained: Whether the stream was decoded to its end.
    """

    def __init__(self, stream: VideoStream | AudioStream, sink: SinkT) -> None:
        self.stream = stream
        self.kind = stream.type
        self.sink = sink
        self.fed = 0
        self.skipped = 0
        self.failed = 0
        self.decoded = 0
        self.last_s = 0.0
        self.drained = False

    def feed(self, packet: Packet[Any] | None, origin_s: float) -> None:
        """Decode a packet, or with None what the decoder still holds back."""
        if packet is not None:
            end = None if packet.pts is None else packet.pts + (packet.duration or 0)
            if end is not None and self.sink.skips(float(end * packet.time_base) - origin_s):
                self.skipped += 1
                return
            self.fed += 1
        try:
            frames = self.stream.decode(packet)
        except av.error.EOFError:
            return
        except av.error.MemoryError:
            raise
        except av.FFmpegError:
            self.failed += 1
            return
        self.decoded += len(frames)
        for frame in frames:
            stamp = frame.dts if frame.pts is None else frame.pts
            # The stream's time base: frames that a flush returns carry none.
            if stamp is not None and self.stream.time_base is not None:
                self.last_s = float(stamp * self.stream.time_base) - origin_s
                self.sink.add(frame, self.last_s)
            else:
                self.sink.add(frame, None)


def decode(
    container: InputContainer,
    lanes: Sequence[Lane[Any]],
    origin_s: float,
    threads: Threads,
    limits: MediaLimits,
) -> list[str]:
    """Run through the file once and feed every lane until its sink is done.

    Packets of other streams are not decoded, and reading stops as soon as no lane needs more.

    Args:
        container: An open container, at its start.
        lanes: One per stream that is wanted.
        origin_s: Container time at which the clip's clock reads zero, in seconds.
        threads: FFmpeg's threading for video.
        limits: Pixels beyond which FFmpeg refuses to allocate a frame, should the size change.

    Returns:
        What went wrong while reading the file, if anything.
    """
    faults: list[str] = []
    if not lanes:  # to PyAV, no stream means every stream
        return faults
    by_index = {lane.stream.index: lane for lane in lanes}
    for stream in container.streams:
        if stream.index not in by_index:
            stream.discard = Discard.all  # MP4 does not even read them from the disk
    for lane in lanes:
        if lane.kind == "video":
            lane.stream.codec_context.thread_type = av.codec.context.ThreadType[threads.upper()]
            if threads == "none":
                lane.stream.codec_context.thread_count = 1
            lane.stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}

    for packet in packets(container, [lane.stream for lane in lanes], faults):
        lane = by_index[packet.stream_index]
        if not lane.sink.done:
            lane.feed(packet, origin_s)
        if all(lane.sink.done for lane in lanes):
            return faults
    for lane in lanes:
        if not lane.sink.done:
            lane.feed(None, origin_s)
            lane.drained = True
    return faults
