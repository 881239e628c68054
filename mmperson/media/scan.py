"""Scan a file before decoding: measure the video's length and check that the file is complete.

Decoders do not report a truncated file: under frame threading FFmpeg returns fewer frames and no
error. So the scan compares the file with its header. If the header has an index of every packet
(MP4, MOV), half a millisecond tells whether the last packets lie beyond the end of the file.
Otherwise, or if exact video times are needed, the packets are read once without decoding them
(14 ms for a 15 s clip).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt

from mmperson.media.open import packets, start_s, videos

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

    from mmperson.media.limits import MediaLimits

# Streams legitimately end up to about one audio packet or a few frames before the declared end.
SLACK_S = 0.5
_SLACK_PACKETS = 3
_BEFORE_ALL = -(1 << 40)  # ticks; an edit list may put the first packet before zero


@dataclass(frozen=True)
class ContainerScan:
    """The result of a scan; times are seconds on the clip's clock.

    Attributes:
        cut_short: Why the file seems incomplete, None if it seems complete.
        packets: Number of packets by stream index; empty if they were not read.
        end_s: End of the last packet of any stream, None if the packets were not read.
        video_start_s: When the first frame is shown, 0 without a video stream or frame.
        video_last_s: When the last frame is shown, likewise.
        video_end_s: When the last frame ends if it lasts as long as the others do, likewise.
        video_entry_s: Time of the last keyframe up to the earliest time that is read: decoding may
            start there. Minus infinity if it must start with the file.
        video_ticks: int64 (frame,), presentation times in ticks of the stream's time base, in file
            order; empty without a video stream.
    """

    cut_short: str | None
    packets: Mapping[int, int] = field(default_factory=dict)
    end_s: float | None = None
    video_start_s: float = 0.0
    video_last_s: float = 0.0
    video_end_s: float = 0.0
    video_entry_s: float = -inf
    video_ticks: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def scan_index(container: InputContainer) -> ContainerScan | None:
    """Check completeness by the index in the header.

    Args:
        container: An open container.

    Returns:
        The scan, or None if the header has no index of the whole clip (formats other than MP4 and
        MOV, fragmented files): then the packets must be read.
    """
    if not container.format.name.startswith("mov") or container.duration is None:
        return None
    indexed_s = 0.0
    for stream in (*videos(container), *container.streams.audio):
        entries = stream.index_entries
        if not len(entries) or stream.time_base is None:
            return None
        if max(entry.pos + entry.size for entry in entries) > container.size:
            return ContainerScan(cut_short="its index points beyond its end")
        indexed_s = max(indexed_s, float(entries[-1].timestamp * stream.time_base))
    if indexed_s < container.duration / av.time_base - SLACK_S:
        return None
    return ContainerScan(cut_short=None)


def scan_packets(
    container: InputContainer,
    video_stream: VideoStream | None,
    limits: MediaLimits,
    from_s: float = 0.0,
) -> ContainerScan:
    """Read every packet without decoding; the container is at its end afterwards.

    Args:
        container: An open container, at its start.
        video_stream: The video stream whose frame times are recorded, if any.
        limits: Largest numbers of frames and seconds.
        from_s: Earliest time that will be read, in seconds on the clip's clock; 0 for all of it.

    Returns:
        The scan, with times.

    Raises:
        MediaTooLarge: More frames or seconds than allowed.
    """
    streams: list[Stream] = [*videos(container), *container.streams.audio]
    origin_s = start_s(container)
    tracks = {stream.index: _Track(stream, origin_s + from_s) for stream in streams}
    video = tracks[video_stream.index] if video_stream is not None else None
    faults: list[str] = []
    for packet in packets(container, streams, faults):
        track = tracks[packet.stream_index]
        track.add(packet)
        if track is video:
            limits.check("max_frames", track.count)
    ends_s = [track.end_s for track in tracks.values() if track.ticks]
    end_s = max(ends_s, default=origin_s) - origin_s
    limits.check("max_duration_s", end_s)

    index = scan_index(container)
    shortfalls = [track.shortfall() for track in tracks.values()]
    reasons = [index.cut_short if index else None, *faults, *shortfalls]
    declared_s = (container.duration or 0) / av.time_base
    if declared_s - end_s > SLACK_S:
        reasons.append(f"it declares {declared_s:.1f} s and ends after {end_s:.1f} s")
    counts = {index: track.count for index, track in tracks.items()}
    whole = ContainerScan(next(filter(None, reasons), None), counts, end_s)
    if video is None or not video.ticks:
        return whole
    return replace(
        whole,
        video_start_s=video.start_s - origin_s,
        video_last_s=video.last_s - origin_s,
        video_end_s=video.last_s + video.gap_s - origin_s,
        video_entry_s=video.entry_s - origin_s if from_s > 0 else -inf,
        video_ticks=np.frombuffer(video.ticks, dtype=np.int64),
    )


def rewind(container: InputContainer) -> None:
    """Go back to the first packet of a file whose header has an index, see ``scan_index``."""
    firsts = [
        (stream.index_entries[0].timestamp * stream.time_base, stream)
        for stream in (*videos(container), *container.streams.audio)
        if stream.time_base is not None
    ]
    # FFmpeg aligns the other streams with the one that is sought: the earliest loses no packet.
    _, earliest = min(firsts, key=lambda first: first[0])
    container.seek(_BEFORE_ALL, stream=earliest)


class _Track:
    """Counts and times of a stream's packets; ``from_s`` is the earliest time that is read."""

    def __init__(self, stream: Stream, from_s: float) -> None:
        self.count = 0
        self.ticks = array("q")  # of the shown packets; those before an edit list's start are not
        self._stream = stream
        self._from = from_s / float(stream.time_base) if stream.time_base else 0.0
        self._entry: int | None = None
        self._corrupt = 0
        self._end = 0

    def add(self, packet: Packet[Any]) -> None:
        self.count += 1
        self._corrupt += packet.is_corrupt
        at = packet.dts if packet.pts is None else packet.pts
        if at is None:
            return
        if packet.is_keyframe and at <= self._from and (self._entry is None or at > self._entry):
            self._entry = at
        if packet.is_discard:
            return
        end = at + (packet.duration or 0)
        self._end = max(self._end, end) if self.ticks else end
        self.ticks.append(at)

    @property
    def start_s(self) -> float:
        return self._seconds(min(self.ticks, default=0))

    @property
    def last_s(self) -> float:
        return self._seconds(max(self.ticks, default=0))

    @property
    def end_s(self) -> float:
        return self._seconds(self._end)

    @property
    def entry_s(self) -> float:
        return -inf if self._entry is None else self._seconds(self._entry)

    @property
    def gap_s(self) -> float:
        """Return the mean time between packets: frames out of order make single ones void."""
        if len(self.ticks) > 1:
            return (self.last_s - self.start_s) / (len(self.ticks) - 1)
        return self.end_s - self.start_s

    def shortfall(self) -> str | None:
        """Return why this stream seems incomplete, or None."""
        stream = self._stream
        if self._corrupt:
            return f"{self._corrupt} of its {stream.type} packets are incomplete"
        # AVI counts ticks in ``frames``, and its duration is already cut to the file's size.
        is_avi = stream.container.format.name == "avi"
        if not is_avi and stream.frames - self.count > _SLACK_PACKETS:
            return f"it declares {stream.frames} {stream.type} packets and has {self.count}"
        declared_s = self._seconds(stream.frames if is_avi else stream.duration or 0)
        measured_s = self.end_s - self.start_s
        if declared_s - measured_s > SLACK_S:
            return f"it declares {declared_s:.1f} s of {stream.type} and has {measured_s:.1f} s"
        return None

    def _seconds(self, ticks: int) -> float:
        return float(ticks * (self._stream.time_base or 0))
