"""Decode the wanted frames and the wanted audio of successive spans of a file, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import EmptyMedia, UnreadableMedia, UsageError
from mmperson.media.audio import AudioWindow, WaveformCollector
from mmperson.media.decode import SPARING, Decode, StreamDecoder, Threads, check_profile, decode
from mmperson.media.fanout import WindowFanout
from mmperson.media.limits import MediaLimits
from mmperson.media.open import start_s, usable_streams
from mmperson.media.probe import ClipInfo
from mmperson.media.scan import SLACK_S, ContainerScan
from mmperson.media.video import FramePicker, nearest_frames, plan_frames
from mmperson.media.windows import WHOLE, Span

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Windows do not wait longer for the other stream: so many with frames, or so much later sound.
_MOST_WAITING: Final = 8
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Clip:
    """What was read of a clip; a modality that was not asked for or not found is None.

    The clip's clock reads zero where the file says that it starts.

    Attributes:
        info: The file's description.
        frames: uint8 (frame, height, width, 3), upright RGB.
        frame_times_s: float64 (frame,), when each frame is shown, in seconds on the clip's clock.
        waveform: float32 (sample,), mono, [-1, 1].
        sample_rate_hz: Samples per second of the waveform.
        waveform_start_s: Time of the waveform's first sample, in seconds on the clip's clock; later
            than the window's start where the audio starts late.
        span: Which seconds were read, None for all.
        warnings: What was missing, damaged or made do with; one sentence each.
    """

    info: ClipInfo
    frames: npt.NDArray[np.uint8] | None = None
    frame_times_s: npt.NDArray[np.float64] | None = None
    waveform: npt.NDArray[np.float32] | None = None
    sample_rate_hz: int | None = None
    waveform_start_s: float | None = None
    span: Span | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadRequest:
    """What is wanted of each span; see ``read_clip``."""

    frames: int
    audio: AudioWindow | None
    decode: Decode
    threads: Threads
    limits: MediaLimits

    def __post_init__(self) -> None:
        if self.frames < 0:
            raise UsageError(f"The number of frames is {self.frames}; it must be 0 or more.")
        check_profile(self.decode)


def decode_windows(
    container: InputContainer,
    info: ClipInfo,
    scan: ContainerScan,
    spans: Sequence[Span],
    request: ReadRequest,
) -> Iterator[Clip]:
    """Decode spans of a file.

    Args:
        container: An open container, at its start.
        info: Its description.
        scan: What a look through it found.
        spans: What to read, by start; ends ascend too.
        request: What is wanted of each.

    Yields:
        A clip per span, as soon as nothing more comes for it.

    Raises:
        MediaError: Nothing can be used.
    """
    video_stream, audio_stream = usable_streams(container)
    audio = request.audio
    picking: StreamDecoder[FramePicker] | None = None
    collecting: StreamDecoder[WaveformCollector] | None = None
    if request.frames and video_stream is not None:
        size = video_stream.width * video_stream.height * 3
        request.limits.check("max_output_bytes", request.frames * size)
        pickers = WindowFanout(spans, lambda span: _picker(span, scan, request), _MOST_WAITING)
        wanted = _wanted(video_stream, start_s(container), spans, scan, request)
        picking = StreamDecoder(video_stream, pickers, scan.packets.get(video_stream.index), wanted)
    if audio is not None and audio_stream is not None:
        sounds = WindowFanout(
            spans, lambda span: WaveformCollector(audio.within(span), request.limits)
        )
        collecting = StreamDecoder(audio_stream, sounds, scan.packets.get(audio_stream.index))
    decoders: list[StreamDecoder[Any]] = [
        decoder for decoder in (picking, collecting) if decoder is not None
    ]
    faults: list[str] = []
    coming = iter(spans)
    span = next(coming, None)

    def complete(span: Span) -> Clip:
        cut_short = scan.cut_short or next(iter(faults), None)
        if decoders and not any(decoder.decoded or decoder.skipped for decoder in decoders):
            _refuse_if_useless(info, decoders, cut_short)
        warnings = [] if not cut_short else [f"The file is cut short or damaged: {cut_short}."]
        clip = Clip(info, span=None if span is WHOLE else span)
        if picking is not None:
            clip = _with_frames(clip, span, picking, scan, request, warnings)
        elif request.frames:
            warnings.insert(0, "The clip has no video.")
        if collecting is not None:
            clip = _with_waveform(clip, collecting, warnings)
        elif audio is not None:
            warnings.insert(0, "The clip has no audio.")
        return replace(clip, warnings=tuple(warnings))

    for _ in decode(
        container,
        decoders,
        start_s(container),
        threads=request.threads,
        profile=request.decode,
        limits=request.limits,
        faults=faults,
    ):
        while span is not None and (
            all(decoder.settled for decoder in decoders) or _is_overdue(span, picking, collecting)
        ):
            yield complete(span)
            span = next(coming, None)
    while span is not None:
        yield complete(span)
        span = next(coming, None)


def _picker(span: Span, scan: ContainerScan, request: ReadRequest) -> FramePicker:
    """Plan the frames of a span, as far as there is video in it."""
    return FramePicker(_targets_s(span, scan, request.frames), request.limits, scan.video_entry_s)


def _targets_s(span: Span, scan: ContainerScan, frames: int) -> npt.NDArray[np.float64]:
    begin_s = max(span.start_s, scan.video_start_s)
    end_s = min(span.end_s, scan.video_end_s)
    is_void = end_s < begin_s or 0 < span.start_s >= scan.video_end_s
    return plan_frames(begin_s, end_s, 0 if is_void else frames)


def _wanted(
    stream: VideoStream,
    origin_s: float,
    spans: Sequence[Span],
    scan: ContainerScan,
    request: ReadRequest,
) -> Set[int] | None:
    """Return when the frames are shown that all spans will choose, in ticks; None for any."""
    if (
        request.decode != "exact"
        or stream.codec_context.name not in SPARING
        or not stream.time_base
    ):
        return None
    ticks = np.unique(scan.video_ticks)
    times_s = np.asarray(ticks * float(stream.time_base) - origin_s, dtype=np.float64)
    wanted: set[int] = set()
    for span in spans if len(ticks) else ():
        chosen = nearest_frames(times_s, _targets_s(span, scan, request.frames))
        wanted.update(ticks[chosen].tolist())
    return wanted


def _is_overdue(
    span: Span,
    picking: StreamDecoder[FramePicker] | None,
    collecting: StreamDecoder[WaveformCollector] | None,
) -> bool:
    """Return whether one stream is so far ahead that a span no longer waits for the other."""
    return (picking is not None and picking.fanout.waiting > _MOST_WAITING) or (
        collecting is not None and collecting.last_s > span.end_s + _PATIENCE_S
    )


def _with_frames(
    clip: Clip,
    span: Span,
    decoder: StreamDecoder[FramePicker],
    scan: ContainerScan,
    request: ReadRequest,
    warnings: list[str],
) -> Clip:
    """Add the frames that were picked, and say what is wrong with them."""
    _warn_of_failures(decoder, warnings)
    picker = decoder.fanout.take()
    picked = picker.finish()
    if not picker.targets_s.size:
        warnings.append(f"There is no video from {span.start_s:.1f} to {span.end_s:.1f} s.")
        return clip
    if picked is None or clip.info.video is None or picker.rotation_deg is None:
        warnings.append("No frame of the video could be decoded.")
        return clip
    rgb, times_s = picked
    wanted_s = min(scan.video_last_s, span.end_s)
    if request.decode == "exact" and decoder.drained and decoder.last_s < wanted_s - SLACK_S:
        warnings.append(
            f"The video can be decoded up to {decoder.last_s:.1f} s of {wanted_s:.1f} s."
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
    return replace(clip, info=info, frames=rgb, frame_times_s=times_s)


def _with_waveform(
    clip: Clip, decoder: StreamDecoder[WaveformCollector], warnings: list[str]
) -> Clip:
    """Add the waveform that was collected, and say what is wrong with it."""
    _warn_of_failures(decoder, warnings)
    collector = decoder.fanout.take()
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
