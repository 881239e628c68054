"""Decode several streams of a file in one pass, each no further than it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, get_args

import av
from av.stream import Discard

from mmperson.errors import UnknownComponent
from mmperson.media.fanout import ReaderT, WindowFanout
from mmperson.media.open import packets

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from mmperson.media.limits import MediaLimits

Threads = Literal["auto", "frame", "slice", "none"]
Decode = Literal["exact", "fast", "key"]
"""Which frames of the video are decoded.

``exact``: all that it takes for the very frames that decoding every one would give: a frame that is
not chosen is left out where no other refers to it. ``fast``: those that others refer to, without
the filter that smoothes the edges of blocks. ``key``: keyframes alone. A codec that cannot leave
frames out decodes every one.
"""
SPARING: Final = frozenset({"h264", "hevc"})
"""Decoders that can leave out single frames to which no other refers."""

_SKIPPED: Final[Mapping[Decode, Literal["NONREF", "NONKEY"]]] = {"fast": "NONREF", "key": "NONKEY"}


def check_profile(profile: str) -> None:
    """Refuse a name that is no profile.

    Raises:
        UnknownComponent: It is none; the message names them.
    """
    if profile not in get_args(Decode):
        raise UnknownComponent("decode profile", str(profile), get_args(Decode))


class StreamDecoder(Generic[ReaderT]):
    """A stream on its way to the readers of its spans.

    Args:
        stream: The stream.
        fanout: What takes its frames.
        packets: How many packets the stream has; None if unknown.
        wanted: When the frames are shown that readers will choose, in ticks of the stream's time
            base: others are left out if no frame refers to them. None to leave out none.

    Attributes:
        kind: ``"video"`` or ``"audio"``.
        fed: Packets that were handed to the decoder.
        skipped: Packets that no reader needed.
        failed: Packets that the decoder refused.
        decoded: Frames that it returned.
        last_s: Time of the last one, in seconds on the clip's clock.
        drained: Whether the stream was decoded to its end.
    """

    def __init__(
        self,
        stream: VideoStream | AudioStream,
        fanout: WindowFanout[ReaderT],
        packets: int | None = None,
        wanted: Set[int] | None = None,
    ) -> None:
        self.stream = stream
        self.kind = stream.type
        self.fanout = fanout
        self._left = packets
        self._wanted = wanted
        self._told = (0, 0)
        self._tick_s = float(stream.time_base or 0)  # products of fractions cost more than AAC
        self._next_s: float | None = None  # when the frame after the last one begins
        self.fed = 0
        self.skipped = 0
        self.failed = 0
        self.decoded = 0
        self.last_s = 0.0
        self.drained = False

    @property
    def settled(self) -> bool:
        """Whether nothing more comes for the earliest span that has not been taken."""
        return self.drained or self.fanout.ready

    def feed(self, packet: Packet[Any], origin_s: float) -> None:
        """Decode a packet; after the stream's last one, also what the decoder holds back."""
        begin, end = packet.pts, (packet.pts or 0) + (packet.duration or 0)
        if begin is not None and self.fanout.skips(
            begin * self._tick_s - origin_s, end * self._tick_s - origin_s
        ):
            self.skipped += 1
        else:
            self.fed += 1
            if self._wanted is not None:
                spared = begin is not None and begin not in self._wanted
                self.stream.codec_context.skip_frame = "NONREF" if spared else "DEFAULT"
            self._decode(packet, origin_s)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.drain(origin_s)

    def failures(self) -> tuple[int, int]:
        """Return how many packets failed, of how many, since this was last asked."""
        failed, fed = self.failed - self._told[0], self.fed - self._told[1]
        self._told = (self.failed, self.fed)
        return failed, fed

    def drain(self, origin_s: float) -> None:
        """Decode what the decoder still holds back: the stream has ended."""
        if not self.drained:
            self._decode(None, origin_s)
            self.drained = True

    def _decode(self, packet: Packet[Any] | None, origin_s: float) -> None:
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
            time_s = self._next_s
            if stamp is not None and self._tick_s:
                time_s = self.last_s = stamp * self._tick_s - origin_s
            self.fanout.add(frame, time_s)
            if time_s is not None:
                self._next_s = time_s + _length_s(frame)


def _length_s(frame: VideoFrame | AudioFrame) -> float:
    """Return how long sound lasts; pictures do not say."""
    if isinstance(frame, av.AudioFrame) and frame.sample_rate:
        return frame.samples / frame.sample_rate
    return 0.0


def decode(
    container: InputContainer,
    decoders: Sequence[StreamDecoder[Any]],
    origin_s: float,
    *,
    threads: Threads,
    profile: Decode,
    limits: MediaLimits,
    faults: list[str],
) -> Iterator[None]:
    """Run through the file once and feed every decoder until its readers are done.

    Packets of other streams are not decoded, nor are those of a stream whose readers are done, and
    reading stops as soon as no decoder needs more.

    Args:
        container: An open container, at its start.
        decoders: One per stream that is wanted.
        origin_s: Container time at which the clip's clock reads zero, in seconds.
        threads: FFmpeg's threading for video.
        profile: Which frames of the video are decoded.
        limits: Pixels beyond which FFmpeg refuses to allocate a frame, should the size change.
        faults: Takes what went wrong while reading the file, if anything.

    Yields:
        None after every packet, so that what is complete can be taken.
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
        if decoder.fanout.done:
            decoder.stream.discard = Discard.all
        elif not decoder.drained:
            decoder.feed(packet, origin_s)
            yield
        if all(decoder.fanout.done for decoder in decoders):
            return
    for decoder in decoders:
        if not decoder.fanout.done:
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
