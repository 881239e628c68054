"""Read one clip: scan the file, decode its packets in one pass, and build the ``Clip``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmperson.errors import EmptyMedia, UnreadableMedia, UsageError
from mmperson.media.audio import AudioWindow, WaveformCollector
from mmperson.media.clip import WHOLE, Clip, ClipInfo, Span
from mmperson.media.decode import (
    SKIPPING_CODECS,
    Decode,
    FrameSink,
    StreamDecoder,
    Threads,
    check_profile,
    decode,
)
from mmperson.media.limits import DEFAULT_LIMITS, MediaLimits
from mmperson.media.open import describe, open_container, start_s, usable_streams
from mmperson.media.scan import SLACK_S, ContainerScan, rewind, scan_index, scan_packets
from mmperson.media.video import FramePicker, nearest_frames, plan_frames

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class ReadRequest:
    """What to read of each span, see ``read_clip``."""

    frames: int
    audio: AudioWindow | None
    decode: Decode
    threads: Threads
    limits: MediaLimits

    def __post_init__(self) -> None:
        if self.frames < 0:
            raise UsageError(f"The number of frames is {self.frames}; it must be 0 or more.")
        check_profile(self.decode)


def read_clip(
    path: str | os.PathLike[str],
    *,
    frames: int = 0,
    audio: AudioWindow | None = None,
    span: Span | None = None,
    decode: Decode = "exact",
    threads: Threads = "auto",
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Clip:
    """Decode the requested frames and audio of a clip, and no more.

    A missing or damaged modality is None and a warning. A clip is an error only if nothing of it
    can be used.

    Args:
        path: A local file.
        frames: Number of frames. The video is split into as many equal parts, and the frame nearest
            to the centre of each is read; a short video repeats frames. 0 decodes no video packet.
        audio: Which part of the audio, at which rate. None decodes no audio packet.
        span: Reads these seconds as if they were the clip: frames are spread over them, and the
            audio window is relative to their start and ends with them. None for all.
        decode: Which frames of the video are decoded, see ``Decode``; the returned ones are the
            nearest among them, and a warning gives their distance.
        threads: FFmpeg's threading of video: ``"auto"`` suits one clip, ``"none"`` a pool of
            workers.
        limits: What is refused.

    Returns:
        The clip.

    Raises:
        UsageError: A negative number of frames, an audio window outside of the span.
        UnknownComponent: There is no such profile.
        MediaError: The file cannot be opened, exceeds a limit, or nothing in it can be used.
    """
    span = span or WHOLE
    with open_reader(path, ReadRequest(frames, audio, decode, threads, limits), span) as reader:
        picker = reader.new_picker(span) if reader.video_stream is not None else None
        collector = reader.new_collector(span) if reader.audio_stream is not None else None
        for _ in reader.decode([span], picker, collector):
            pass
        return reader.build_clip(span, picker, collector)


@contextmanager
def open_reader(
    path: str | os.PathLike[str], request: ReadRequest, span: Span = WHOLE
) -> Iterator[ClipReader]:
    """Open and scan a file.

    MP4 and MOV files are opened once. Others are opened anew after their packets were read: not
    every format seeks back to its first packet.

    Args:
        path: A local file.
        request: What will be read.
        span: Part of the file that will be read.

    Yields:
        The reader of the open file.

    Raises:
        MediaError: The file cannot be opened or exceeds a limit.
    """
    pictures = request.frames > 0
    with open_container(path, request.limits, pictures=pictures) as container:
        info = describe(container, path)
        scan = index = scan_index(container)
        is_at_start = index is not None
        if scan is None or pictures:
            video_stream, _ = usable_streams(container)
            scan = scan_packets(container, video_stream, request.limits, span.start_s)
            if info.duration_s is None:
                info = replace(info, duration_s=scan.end_s)
            is_at_start = index is not None and scan.cut_short is None
            if is_at_start:
                rewind(container)
        if is_at_start:
            yield ClipReader(container, info, scan, request)
            return
    with open_container(path, request.limits, pictures=pictures) as container:
        yield ClipReader(container, info, scan, request)


class ClipReader:
    """Reads spans of an open file in one pass.

    Args:
        container: The open container, at its first packet.
        info: Its description.
        scan: Result of the scan.
        request: What to read of each span.

    Attributes:
        info: The description.
        scan: Result of the scan.
        video_stream: The stream of the frames; None if none are requested or there is none.
        audio_stream: The stream of the audio, likewise.
        video: Decoder of the video, None before ``decode`` and without frames to read.
        audio: Decoder of the audio, likewise.
    """

    def __init__(
        self, container: InputContainer, info: ClipInfo, scan: ContainerScan, request: ReadRequest
    ) -> None:
        self.info = info
        self.scan = scan
        self.video: StreamDecoder | None = None
        self.audio: StreamDecoder | None = None
        self._container = container
        self._request = request
        video, audio = usable_streams(container)
        self.video_stream = video if request.frames else None
        self.audio_stream = None if request.audio is None else audio
        self._faults: list[str] = []

    def new_picker(self, span: Span) -> FramePicker:
        """Return a sink for the frames of a span, with targets where the span has video."""
        limits = self._request.limits
        return FramePicker(
            self._targets_s(span), limits, self.scan.video_entry_s, str(self.info.path)
        )

    def new_collector(self, span: Span) -> WaveformCollector:
        """Return a sink for the audio of a span, which must be requested."""
        assert self._request.audio is not None
        return WaveformCollector(self._request.audio.within(span), self._request.limits)

    def decode(
        self, spans: Sequence[Span], video: FrameSink | None, audio: FrameSink | None
    ) -> Iterator[None]:
        """Decode the file packet by packet.

        Args:
            spans: What is read, by start; ends ascend too.
            video: Sink for the frames of all spans, None to decode none.
            audio: Sink for the audio, likewise.

        Yields:
            None after every packet.

        Raises:
            MediaTooLarge: The frames would need more memory than allowed, or see the sinks.
        """
        request, packets = self._request, self.scan.packets
        if video is not None and (stream := self.video_stream) is not None:
            size = stream.width * stream.height * 3
            request.limits.check("max_output_bytes", request.frames * size)
            chosen = self._chosen_ticks(stream, spans)
            self.video = StreamDecoder(stream, video, packets.get(stream.index), chosen)
        if audio is not None and (sound := self.audio_stream) is not None:
            self.audio = StreamDecoder(sound, audio, packets.get(sound.index))
        yield from decode(
            self._container,
            self._decoders(),
            start_s(self._container),
            threads=request.threads,
            profile=request.decode,
            limits=request.limits,
            faults=self._faults,
        )

    def build_clip(
        self, span: Span, picker: FramePicker | None, collector: WaveformCollector | None
    ) -> Clip:
        """Return what was read of a span, with warnings of what is missing or damaged.

        Args:
            span: What was read.
            picker: The sink for its frames.
            collector: The sink for its audio.

        Raises:
            MediaError: Nothing was decoded.
        """
        cut_short = self.scan.cut_short or next(iter(self._faults), None)
        decoders = self._decoders()
        if decoders and not any(decoder.decoded or decoder.skipped for decoder in decoders):
            self._refuse_if_useless(cut_short)
        warnings = [] if not cut_short else [f"The file is cut short or damaged: {cut_short}."]
        clip = Clip(self.info, span=None if span is WHOLE else span)
        if picker is not None and self.video is not None:
            clip = self._with_frames(clip, span, self.video, picker, warnings)
        elif self._request.frames:
            warnings.insert(0, "The clip has no video.")
        if collector is not None and self.audio is not None:
            clip = _with_waveform(clip, self.audio, collector, warnings)
        elif self._request.audio is not None:
            warnings.insert(0, "The clip has no audio.")
        return replace(clip, warnings=tuple(warnings))

    def _decoders(self) -> list[StreamDecoder]:
        return [decoder for decoder in (self.video, self.audio) if decoder is not None]

    def _targets_s(self, span: Span) -> npt.NDArray[np.float64]:
        begin_s = max(span.start_s, self.scan.video_start_s)
        end_s = min(span.end_s, self.scan.video_end_s)
        is_void = end_s < begin_s or 0 < span.start_s >= self.scan.video_end_s
        return plan_frames(begin_s, end_s, 0 if is_void else self._request.frames)

    def _chosen_ticks(self, stream: VideoStream, spans: Sequence[Span]) -> Set[int] | None:
        """Return the times of the frames that all spans will choose, in ticks; None for any."""
        if (
            self._request.decode != "exact"
            or stream.codec_context.name not in SKIPPING_CODECS
            or not stream.time_base
        ):
            return None
        ticks = np.unique(self.scan.video_ticks)
        origin_s = start_s(self._container)
        times_s = np.asarray(ticks * float(stream.time_base) - origin_s, dtype=np.float64)
        chosen: set[int] = set()
        for span in spans if len(ticks) else ():
            chosen.update(ticks[nearest_frames(times_s, self._targets_s(span))].tolist())
        return chosen

    def _with_frames(
        self,
        clip: Clip,
        span: Span,
        decoder: StreamDecoder,
        picker: FramePicker,
        warnings: list[str],
    ) -> Clip:
        """Add the picked frames, and a warning for each flaw."""
        _warn_of_failures(decoder, warnings)
        picked = picker.finish()
        if not picker.targets_s.size:
            warnings.append(f"There is no video from {span.start_s:.1f} to {span.end_s:.1f} s.")
            return clip
        if picked is None or clip.info.video is None or picker.rotation_deg is None:
            warnings.append("No frame of the video could be decoded.")
            return clip
        frames, times_s = picked
        profile, count = self._request.decode, self._request.frames
        until_s = min(self.scan.video_last_s, span.end_s)
        if profile == "exact" and decoder.drained and decoder.last_s < until_s - SLACK_S:
            warnings.append(
                f"The video can be decoded up to {decoder.last_s:.1f} s of {until_s:.1f} s."
            )
        if profile != "exact":
            off_ms = 1e3 * np.abs(times_s - picker.targets_s).max()
            warnings.append(
                f"The video was decoded with the profile {profile!r}: the farthest frame is "
                f"{off_ms:.0f} ms from its planned time."
            )
        if (distinct := len(np.unique(times_s))) < count:
            warnings.append(
                f"Of the {count} requested frames, {distinct} are distinct: the nearest repeat."
            )
        info = replace(clip.info, video=clip.info.video.turned(picker.rotation_deg))
        return replace(clip, info=info, frames=frames, frame_times_s=times_s)

    def _refuse_if_useless(self, cut_short: str | None) -> None:
        """Raise where no stream of the file is left that might be usable."""
        decoders, name = self._decoders(), self.info.path.name
        streams = sum(stream is not None for stream in (self.info.video, self.info.audio))
        if streams > len(decoders) and not cut_short:
            return  # the other stream was not requested: it may be fine
        kinds = " and ".join(decoder.kind for decoder in decoders)
        if cut_short:
            raise UnreadableMedia(
                f"The {kinds} of {name!r} cannot be decoded: "
                f"the file is cut short or damaged, {cut_short}.",
                hint="Copy or download the file again.",
            )
        if any(decoder.failed for decoder in decoders):
            raise UnreadableMedia(f"The {kinds} of {name!r} cannot be decoded.")
        raise EmptyMedia(f"{name!r} has no frame of {kinds}.")


def _with_waveform(
    clip: Clip, decoder: StreamDecoder, collector: WaveformCollector, warnings: list[str]
) -> Clip:
    """Add the collected waveform, and a warning for each flaw."""
    _warn_of_failures(decoder, warnings)
    collected = collector.finish()
    if collector.problem is not None:
        warnings.append(f"The audio is not used in full: {collector.problem}.")
    if collected is None:
        warnings.append(
            f"The audio has nothing after {collector.window.start_s:.1f} s."
            if decoder.decoded or decoder.skipped
            else "The audio could not be decoded."
        )
        return clip
    waveform, begin_s = collected
    rate_hz = collector.window.sample_rate_hz
    return replace(clip, waveform=waveform, sample_rate_hz=rate_hz, waveform_start_s=begin_s)


def _warn_of_failures(decoder: StreamDecoder, warnings: list[str]) -> None:
    failed, fed = decoder.failures()
    if failed:
        warnings.append(f"{failed} of {fed} {decoder.kind} packets could not be decoded.")
