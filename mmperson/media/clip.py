"""Decode the wanted frames and the wanted audio of successive spans of a file, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import EmptyMedia, UnreadableMedia, UsageError
from mmperson.media.audio import AudioWindow, WaveformCollector
from mmperson.media.container import start_s, usable_streams
from mmperson.media.decode import SPARING, Decode, Lane, Threads, check_profile, decode
from mmperson.media.limits import MediaLimits
from mmperson.media.probe import ClipInfo
from mmperson.media.relay import Relay
from mmperson.media.spans import WHOLE, Span
from mmperson.media.survey import SLACK_S, Survey
from mmperson.media.video import FramePicker, nearest_frames, plan_frames

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
class Wish:
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


def clips_of(
    container: InputContainer, info: ClipInfo, survey: Survey, spans: Sequence[Span], wish: Wish
) -> Iterator[Clip]:
    """Decode spans of a file.

    Args:
        container: An open container, at its start.
        info: Its description.
        survey: What a look through it found.
        spans: What to read, by start; ends ascend too.
        wish: What is wanted of each.

    Yields:
        A clip per span, as soon as nothing more comes for it.

    Raises:
        MediaError: Nothing can be used.
    """
    video_stream, audio_stream = usable_streams(container)
    audio = wish.audio
    picking: Lane[FramePicker] | None = None
    collecting: Lane[WaveformCollector] | None = None
    if wish.frames and video_stream is not None:
        size = video_stream.width * video_stream.height * 3
        wish.limits.check("max_output_bytes", wish.frames * size)
        pickers = Relay(spans, lambda span: _picker(span, survey, wish), _MOST_WAITING)
        wanted = _wanted(video_stream, start_s(container), spans, survey, wish)
        picking = Lane(video_stream, pickers, survey.packets.get(video_stream.index), wanted)
    if audio is not None and audio_stream is not None:
        sounds = Relay(spans, lambda span: WaveformCollector(audio.within(span), wish.limits))
        collecting = Lane(audio_stream, sounds, survey.packets.get(audio_stream.index))
    lanes: list[Lane[Any]] = [lane for lane in (picking, collecting) if lane is not None]
    faults: list[str] = []
    coming = iter(spans)
    span = next(coming, None)

    def complete(span: Span) -> Clip:
        cut_short = survey.cut_short or next(iter(faults), None)
        if lanes and not any(lane.decoded or lane.skipped for lane in lanes):
            _refuse_if_useless(info, lanes, cut_short)
        warnings = [] if not cut_short else [f"The file is cut short or damaged: {cut_short}."]
        clip = Clip(info, span=None if span is WHOLE else span)
        if picking is not None:
            clip = _with_frames(clip, span, picking, survey, wish, warnings)
        elif wish.frames:
            warnings.insert(0, "The clip has no video.")
        if collecting is not None:
            clip = _with_waveform(clip, collecting, warnings)
        elif audio is not None:
            warnings.insert(0, "The clip has no audio.")
        return replace(clip, warnings=tuple(warnings))

    for _ in decode(
        container,
        lanes,
        start_s(container),
        threads=wish.threads,
        profile=wish.decode,
        limits=wish.limits,
        faults=faults,
    ):
        while span is not None and (
            all(lane.settled for lane in lanes) or _is_overdue(span, picking, collecting)
        ):
            yield complete(span)
            span = next(coming, None)
    while span is not None:
        yield complete(span)
        span = next(coming, None)


def _picker(span: Span, survey: Survey, wish: Wish) -> FramePicker:
    """Plan the frames of a span, as far as there is video in it."""
    return FramePicker(_targets_s(span, survey, wish.frames), wish.limits, survey.video_entry_s)


def _targets_s(span: Span, survey: Survey, frames: int) -> npt.NDArray[np.float64]:
    begin_s = max(span.start_s, survey.video_start_s)
    end_s = min(span.end_s, survey.video_end_s)
    is_void = end_s < begin_s or 0 < span.start_s >= survey.video_end_s
    return plan_frames(begin_s, end_s, 0 if is_void else frames)


def _wanted(
    stream: VideoStream, origin_s: float, spans: Sequence[Span], survey: Survey, wish: Wish
) -> Set[int] | None:
    """Return when the frames are shown that all spans will choose, in ticks; None for any."""
    if wish.decode != "exact" or stream.codec_context.name not in SPARING or not stream.time_base:
        return None
    ticks = np.unique(survey.video_ticks)
    times_s = np.asarray(ticks * float(stream.time_base) - origin_s, dtype=np.float64)
    wanted: set[int] = set()
    for span in spans if len(ticks) else ():
        chosen = nearest_frames(times_s, _targets_s(span, survey, wish.frames))
        wanted.update(ticks[chosen].tolist())
    return wanted


def _is_overdue(
    span: Span, picking: Lane[FramePicker] | None, collecting: Lane[WaveformCollector] | None
) -> bool:
    """Return whether one stream is so far ahead that a span no longer waits for the other."""
    return (picking is not None and picking.relay.waiting > _MOST_WAITING) or (
        collecting is not None and collecting.last_s > span.end_s + _PATIENCE_S
    )


def _with_frames(
    clip: Clip,
    span: Span,
    lane: Lane[FramePicker],
    survey: Survey,
    wish: Wish,
    warnings: list[str],
) -> Clip:
    """Add the frames that were picked, and say what is wrong with them."""
    _warn_of_failures(lane, warnings)
    picker = lane.relay.take()
    picked = picker.finish()
    if not picker.targets_s.size:
        warnings.append(f"There is no video from {span.start_s:.1f} to {span.end_s:.1f} s.")
        return clip
    if picked is None or clip.info.video is None or picker.rotation_deg is None:
        warnings.append("No frame of the video could be decoded.")
        return clip
    rgb, times_s = picked
    wanted_s = min(survey.video_last_s, span.end_s)
    if wish.decode == "exact" and lane.drained and lane.last_s < wanted_s - SLACK_S:
        warnings.append(f"The video can be decoded up to {lane.last_s:.1f} s of {wanted_s:.1f} s.")
    if wish.decode != "exact":
        off_ms = 1e3 * np.abs(times_s - picker.targets_s).max()
        warnings.append(
            f"The video was decoded with the profile {wish.decode!r}: the farthest frame is "
            f"{off_ms:.0f} ms from its planned time."
        )
    if (distinct := len(np.unique(times_s))) < wish.frames:
        warnings.append(
            f"Of the {wish.frames} frames asked for, {distinct} differ: the nearest repeat."
        )
    info = replace(clip.info, video=clip.info.video.turned(picker.rotation_deg))
    return replace(clip, info=info, frames=rgb, frame_times_s=times_s)


def _with_waveform(clip: Clip, lane: Lane[WaveformCollector], warnings: list[str]) -> Clip:
    """Add the waveform that was collected, and say what is wrong with it."""
    _warn_of_failures(lane, warnings)
    collector = lane.relay.take()
    collected = collector.finish()
    if collector.problem is not None:
        warnings.append(f"The audio is not used in full: {collector.problem}.")
    if collected is None:
        warnings.append(
            f"The audio has nothing after {collector.window.start_s:.1f} s."
            if lane.decoded or lane.skipped
            else "The audio could not be decoded."
        )
        return clip
    waveform, begin_s = collected
    rate_hz = collector.window.sample_rate_hz
    return replace(clip, waveform=waveform, sample_rate_hz=rate_hz, waveform_start_s=begin_s)


def _warn_of_failures(lane: Lane[Any], warnings: list[str]) -> None:
    failed, fed = lane.failures()
    if failed:
        warnings.append(f"{failed} of {fed} {lane.kind} packets could not be decoded.")


def _refuse_if_useless(info: ClipInfo, lanes: list[Lane[Any]], cut_short: str | None) -> None:
    """Raise where no stream of the file is left that might be usable."""
    streams = sum(stream is not None for stream in (info.video, info.audio))
    if streams > len(lanes) and not cut_short:
        return  # the caller did not ask for the other stream: it may be fine
    kinds = " and ".join(lane.kind for lane in lanes)
    if cut_short:
        raise UnreadableMedia(
            f"The {kinds} of {info.path.name!r} cannot be decoded: "
            f"the file is cut short or damaged, {cut_short}.",
            hint="Copy or download the file again.",
        )
    if any(lane.failed for lane in lanes):
        raise UnreadableMedia(f"The {kinds} of {info.path.name!r} cannot be decoded.")
    raise EmptyMedia(f"{info.path.name!r} has no frame of {kinds}.")
