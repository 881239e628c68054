"""Decode several streams of a file in one pass, each no further than needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

import av
from av.stream import Discard

from mmperson.errors import UnknownComponent
from mmperson.media.open import packets

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from mmperson.media.limits import MediaLimits

Threads = Literal["auto", "frame", "slice", "none"]
Decode = Literal["exact", "fast", "key"]
"""Which frames of the video are decoded.

``exact``: the chosen frames and those they depend on; results equal decoding every frame.
``fast``: reference frames only, without deblocking. ``key``: keyframes only. A codec that cannot
skip frames decodes all of them.
"""
SKIPPING_CODECS: Final = frozenset({"h264", "hevc"})
"""Decoders that can skip single frames to which no other refers."""

_SKIPPED: Final[Mapping[Decode, Literal["NONREF", "NONKEY"]]] = {"fast": "NONREF", "key": "NONKEY"}


def check_profile(profile: str) -> None:
    """Raise ``UnknownComponent``, which lists the profiles, for a name that is not one."""
    if profile not in get_args(Decode):
        raise UnknownComponent("decode profile", str(profile), get_args(Decode))


class FrameSink(Protocol):
    """Takes the decoded frames of one stream."""

    @property
    def done(self) -> bool:
        """Whether nothing more is needed."""

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether the sink needs no frame between these times."""

    def add(self, frame: Any, time_s: float | None) -> None:
        """Take the next frame, with its time on the clip's clock or None."""


class StreamDecoder:
    """Decodes one stream, packet by packet, into a sink.

    Args:
        stream: The stream.
        sink: Takes its frames.
        packets: Number of packets of the stream; None if unknown.
        chosen: Times of the frames that the sink will choose, in ticks of the stream's time base:
            others are skipped if no frame refers to them. None to skip none.

    Attributes:
        kind: ``"video"`` or ``"audio"``.
        sink: The sink.
        fed: Number of packets passed to the decoder.
        skipped: Number of packets that the sink did not need.
        failed: Number of packets that the decoder refused.
        decoded: Number of frames that it returned.
        last_s: Time of the last frame, in seconds on the clip's clock.
        drained: Whether the stream was decoded to its end.
    """

    def __init__(
        self,
        stream: VideoStream | AudioStream,
        sink: FrameSink,
        packets: int | None = None,
        chosen: Set[int] | None = None,
    ) -> None:
        self.stream = stream
        self.kind = stream.type
        self.sink: Any = sink
        self._packets_left = packets
        self._chosen = chosen
        self._reported = (0, 0)
        self._tick_s = float(stream.time_base or 0)  # products of fractions cost more than AAC
        self._next_s: float | None = None  # when the frame after the last one begins
        self.fed = 0
        self.skipped = 0
        self.failed = 0
        self.decoded = 0
        self.last_s = 0.0
        self.drained = False

    def feed(self, packet: Packet[Any], origin_s: float) -> None:
        """Decode a packet; drain the decoder after the stream's last one."""
        begin, end = packet.pts, (packet.pts or 0) + (packet.duration or 0)
        if begin is not None and self.sink.skips(
            begin * self._tick_s - origin_s, end * self._tick_s - origin_s
        ):
            self.skipped += 1
        else:
            self.fed += 1
            if self._chosen is not None:
                is_unused = begin is not None and begin not in self._chosen
                self.stream.codec_context.skip_frame = "NONREF" if is_unused else "DEFAULT"
            self._decode(packet, origin_s)
        if self._packets_left is not None:
            self._packets_left -= 1
            if self._packets_left == 0:
                self.drain(origin_s)

    def failures(self) -> tuple[int, int]:
        """Return how many packets failed, of how many, since the last call."""
        failed, fed = self.failed - self._reported[0], self.fed - self._reported[1]
        self._reported = (self.failed, self.fed)
        return failed, fed

    def drain(self, origin_s: float) -> None:
        """Flush the decoder at the end of the stream."""
        if not self.drained:
            self._decode(None, origin_s)
            self.drained = True

    def _decode(self, packet: Packet[Any] | None, origin_s: float) -> None:
        try:
            frames: list[Any] = self.stream.decode(packet)
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
            time_s = self._next_s
            if stamp is not None and self._tick_s:
                time_s = self.last_s = stamp * self._tick_s - origin_s
            self.sink.add(frame, time_s)
            if time_s is not None:
                rate_hz = getattr(frame, "sample_rate", 0)  # the length of a video frame is unknown
                self._next_s = time_s + (frame.samples / rate_hz if rate_hz else 0.0)


def decode(
    container: InputContainer,
    decoders: Sequence[StreamDecoder],
    origin_s: float,
    *,
    threads: Threads,
    profile: Decode,
    limits: MediaLimits,
    faults: list[str],
) -> Iterator[None]:
    """Demultiplex the file once and feed every decoder until its sink is done.

    Packets of other streams are not decoded, nor are those of a stream whose sink is done, and
    reading stops as soon as every decoder is finished.

    Args:
        container: An open container, at its start.
        decoders: One per stream.
        origin_s: Container time at which the clip's clock reads zero, in seconds.
        threads: FFmpeg's threading for video.
        profile: Which frames of the video are decoded.
        limits: Pixels beyond which FFmpeg refuses to allocate a frame, should the size change.
        faults: Errors while reading the file are appended here.

    Yields:
        None after every packet, so that complete windows can be built.
    """
    if not decoders:  # to PyAV, no stream means every stream
        return
    by_index = {decoder.stream.index: decoder for decoder in decoders}
    for stream in container.streams:
        if stream.index not in by_index:
            stream.discard = Discard.all  # MP4 does not even read them from the disk
    for decoder in decoders:
        if decoder.kind == "video":
            _prepare(decoder.stream.codec_context, threads, profile, limits)

    for packet in packets(container, [decoder.stream for decoder in decoders], faults):
        decoder = by_index[packet.stream_index]
        if decoder.sink.done:
            decoder.stream.discard = Discard.all
        elif not decoder.drained:
            decoder.feed(packet, origin_s)
            yield
        if all(decoder.drained or decoder.sink.done for decoder in decoders):
            return
    for decoder in decoders:
        if not decoder.sink.done:
            decoder.drain(origin_s)


def _prepare(codec: CodecContext, threads: Threads, profile: Decode, limits: MediaLimits) -> None:
    """Set up a video decoder before its first packet."""
    codec.thread_type = av.codec.context.ThreadType[threads.upper()]
    if threads == "none":
        codec.thread_count = 1
    codec.options = {"max_pixels": str(limits.max_pixels)}
    if profile != "exact":
        codec.options |= {"skip_loop_filter": "all"}
        codec.skip_frame = _SKIPPED[profile]
