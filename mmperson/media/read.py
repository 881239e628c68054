"""Read one clip: scan the file, decode its packets in one pass, and build the ``Clip``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

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

PickerT = TypeVar("PickerT", bound=FrameSink)
CollectorT = TypeVar("CollectorT", bound=FrameSink)


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
    """Decode the frames and the audio of a clip that are asked for, and no more.

    A modality that is missing or damaged is None and a warning. The clip as a whole is an error
    only where nothing of it can be used.

    Args:
        path: A local file.
        frames: How many frames, nearest in time to the centres of as many equal parts of the video;
            where the video has fewer, the nearest are repeated. 0 decodes no video packet.
        audio: Which part of the audio, at which rate. None decodes no audio packet.
        span: Reads these seconds as if they were the clip: frames are spread over them, and the
            audio window starts with them and ends with them at the latest. None for all.
        decode: Which frames of the video are decoded, see ``Decode``; the returned ones are the
            nearest among them, and a warning gives their distance.
        threads: FFmpeg's threading of video: ``"auto"`` suits one clip, ``"none"`` a pool of
            workers.
        limits: What is refused.

    Returns:
        The clip.

    Raises:
        UsageError: A negative number of frames, or no such profile.
        MediaError: The file cannot be opened, is beyond a limit, or nothing in it can be used.
    """
    span = span or WHOLE
    request = ReadRequest(frames, audio, decode, threads, limits)
    with open_scanned(path, request, span.start_s) as file:
        video, sound = open_decoders(
            file, [span], lambda: make_picker(file, span), lambda: make_collector(file, span)
        )
        faults: list[str] = []
        for _ in decode_packets(file, video, sound, faults):
            pass
        picked = None if video is None else (video, video.sink)
        collected = None if sound is None else (sound, sound.sink)
        return build_clip(file, span, picked, collected, faults)


@dataclass(frozen=True)
class ScannedFile:
    """An open file at its first packet.

    Attributes:
        container: The open container.
        info: Its description.
        scan: What a scan found.
        request: What is read of it.
    """

    container: InputContainer
    info: ClipInfo
    scan: ContainerScan
    request: ReadRequest


@contextmanager
def open_scanned(
    path: str | os.PathLike[str], request: ReadRequest, from_s: float = 0.0
) -> Iterator[ScannedFile]:
    """Open and scan a file.

    MP4 and MOV files are opened once. Others are opened anew after their packets were read: not
    every format seeks back to its first packet.

    Args:
        path: A local file.
        request: What will be read.
        from_s: Earliest time that will be read, in seconds on the clip's clock.

    Yields:
        The open file.

    Raises:
        MediaError: It cannot be opened or is beyond a limit.
    """
    pictures = request.frames > 0
    with open_container(path, request.limits, pictures=pictures) as container:
        info = describe(container, path)
        index = scan_index(container)
        if index is not None and not pictures:
            yield ScannedFile(container, info, index, request)
            return
        video_stream, _ = usable_streams(container)
        scan = scan_packets(container, video_stream, request.limits, from_s)
        if info.duration_s is None:
            info = replace(info, duration_s=scan.end_s)
        if index is not None and scan.cut_short is None:
            rewind(container)
            yield ScannedFile(container, info, scan, request)
            return
    with open_container(path, request.limits, pictures=pictures) as container:
        yield ScannedFile(container, info, scan, request)


def open_decoders(
    file: ScannedFile,
    spans: Sequence[Span],
    new_picker: Callable[[], PickerT],
    new_collector: Callable[[], CollectorT],
) -> tuple[StreamDecoder[PickerT] | None, StreamDecoder[CollectorT] | None]:
    """Return the decoders of video and audio; None for what is not asked for or not there.

    Args:
        file: The open file.
        spans: What is read, by start; ends ascend too.
        new_picker: Returns what takes the frames.
        new_collector: Returns what takes the sound.

    Raises:
        MediaTooLarge: The frames would need more memory than allowed.
    """
    video_stream, audio_stream = usable_streams(file.container)
    request, packets = file.request, file.scan.packets
    video: StreamDecoder[PickerT] | None = None
    sound: StreamDecoder[CollectorT] | None = None
    if request.frames and video_stream is not None:
        size = video_stream.width * video_stream.height * 3
        request.limits.check("max_output_bytes", request.frames * size)
        chosen = _chosen_ticks(file, video_stream, spans)
        video = StreamDecoder(video_stream, new_picker(), packets.get(video_stream.index), chosen)
    if request.audio is not None and audio_stream is not None:
        sound = StreamDecoder(audio_stream, new_collector(), packets.get(audio_stream.index))
    return video, sound


def decode_packets(
    file: ScannedFile,
    video: StreamDecoder[Any] | None,
    sound: StreamDecoder[Any] | None,
    faults: list[str],
) -> Iterator[None]:
    """Decode a file packet by packet, see ``decode``."""
    return decode(
        file.container,
        [decoder for decoder in (video, sound) if decoder is not None],
        start_s(file.container),
        threads=file.request.threads,
        profile=file.request.decode,
        limits=file.request.limits,
        faults=faults,
    )


def make_picker(file: ScannedFile, span: Span) -> FramePicker:
    """Plan the frames of a span, as far as there is video in it."""
    scan, request = file.scan, file.request
    targets_s = _targets_s(span, scan, request.frames)
    return FramePicker(targets_s, request.limits, scan.video_entry_s, str(file.info.path))


def make_collector(file: ScannedFile, span: Span) -> WaveformCollector:
    """Return what collects the sound of a span."""
    request = file.request
    assert request.audio is not None
    return WaveformCollector(request.audio.within(span), request.limits)


def build_clip(
    file: ScannedFile,
    span: Span,
    video: tuple[StreamDecoder[Any], FramePicker] | None,
    sound: tuple[StreamDecoder[Any], WaveformCollector] | None,
    faults: Sequence[str],
) -> Clip:
    """Return what was read of a span, with warnings of what is missing or damaged.

    Args:
        file: The open file.
        span: What was read.
        video: The decoder of the frames and what they were picked by.
        sound: The decoder of the sound and what it was collected by.
        faults: What went wrong while reading the file.

    Raises:
        MediaError: Nothing was decoded.
    """
    info, scan, request = file.info, file.scan, file.request
    cut_short = scan.cut_short or next(iter(faults), None)
    decoders = [part[0] for part in (video, sound) if part is not None]
    if decoders and not any(decoder.decoded or decoder.skipped for decoder in decoders):
        _refuse_if_useless(info, decoders, cut_short)
    warnings = [] if not cut_short else [f"The file is cut short or damaged: {cut_short}."]
    clip = Clip(info, span=None if span is WHOLE else span)
    if video is not None:
        clip = _with_frames(clip, span, *video, scan, request, warnings)
    elif request.frames:
        warnings.insert(0, "The clip has no video.")
    if sound is not None:
        clip = _with_waveform(clip, *sound, warnings)
    elif request.audio is not None:
        warnings.insert(0, "The clip has no audio.")
    return replace(clip, warnings=tuple(warnings))


def _targets_s(span: Span, scan: ContainerScan, frames: int) -> npt.NDArray[np.float64]:
    begin_s = max(span.start_s, scan.video_start_s)
    end_s = min(span.end_s, scan.video_end_s)
    is_void = end_s < begin_s or 0 < span.start_s >= scan.video_end_s
    return plan_frames(begin_s, end_s, 0 if is_void else frames)


def _chosen_ticks(file: ScannedFile, stream: VideoStream, spans: Sequence[Span]) -> Set[int] | None:
    """Return when the frames are shown that all spans will choose, in ticks; None for any."""
    request, scan = file.request, file.scan
    if (
        request.decode != "exact"
        or stream.codec_context.name not in SKIPPING_CODECS
        or not stream.time_base
    ):
        return None
    ticks = np.unique(scan.video_ticks)
    origin_s = start_s(file.container)
    times_s = np.asarray(ticks * float(stream.time_base) - origin_s, dtype=np.float64)
    chosen: set[int] = set()
    for span in spans if len(ticks) else ():
        nearest = nearest_frames(times_s, _targets_s(span, scan, request.frames))
        chosen.update(ticks[nearest].tolist())
    return chosen


def _with_frames(
    clip: Clip,
    span: Span,
    decoder: StreamDecoder[Any],
    picker: FramePicker,
    scan: ContainerScan,
    request: ReadRequest,
    warnings: list[str],
) -> Clip:
    """Add the frames that were picked, and a warning for each flaw."""
    _warn_of_failures(decoder, warnings)
    picked = picker.finish()
    if not picker.targets_s.size:
        warnings.append(f"There is no video from {span.start_s:.1f} to {span.end_s:.1f} s.")
        return clip
    if picked is None or clip.info.video is None or picker.rotation_deg is None:
        warnings.append("No frame of the video could be decoded.")
        return clip
    frames, times_s = picked
    until_s = min(scan.video_last_s, span.end_s)
    if request.decode == "exact" and decoder.drained and decoder.last_s < until_s - SLACK_S:
        warnings.append(
            f"The video can be decoded up to {decoder.last_s:.1f} s of {until_s:.1f} s."
        )
    if request.decode != "exact":
        off_ms = 1e3 * np.abs(times_s - picker.targets_s).max()
        warnings.append(
            f"The video was decoded with the profile {request.decode!r}: the farthest frame is "
            f"{off_ms:.0f} ms from its planned time."
        )
    if (distinct := len(np.unique(times_s))) < request.frames:
        warnings.append(
            f"Of the {request.frames} frames asked for, {distinct} differ: the nearest repeat."
        )
    info = replace(clip.info, video=clip.info.video.turned(picker.rotation_deg))
    return replace(clip, info=info, frames=frames, frame_times_s=times_s)


def _with_waveform(
    clip: Clip, decoder: StreamDecoder[Any], collector: WaveformCollector, warnings: list[str]
) -> Clip:
    """Add the waveform that was collected, and a warning for each flaw."""
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


def _warn_of_failures(decoder: StreamDecoder[Any], warnings: list[str]) -> None:
    failed, fed = decoder.failures()
    if failed:
        warnings.append(f"{failed} of {fed} {decoder.kind} packets could not be decoded.")


def _refuse_if_useless(
    info: ClipInfo, decoders: list[StreamDecoder[Any]], cut_short: str | None
) -> None:
    """Raise where no stream of the file is left that might be usable."""
    streams = sum(stream is not None for stream in (info.video, info.audio))
    if streams > len(decoders) and not cut_short:
        return  # the caller did not ask for the other stream: it may be fine
    kinds = " and ".join(decoder.kind for decoder in decoders)
    if cut_short:
        raise UnreadableMedia(
            f"The {kinds} of {info.path.name!r} cannot be decoded: "
            f"the file is cut short or damaged, {cut_short}.",
            hint="Copy or download the file again.",
        )
    if any(decoder.failed for decoder in decoders):
        raise UnreadableMedia(f"The {kinds} of {info.path.name!r} cannot be decoded.")
    raise EmptyMedia(f"{info.path.name!r} has no frame of {kinds}.")
