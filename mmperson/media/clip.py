"""Read the wanted frames and the wanted audio of a clip, decoding once, in one pass."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmperson.errors import EmptyMedia, UnreadableMedia, UsageError
from mmperson.media.audio import AudioWindow, WaveformCollector
from mmperson.media.container import open_container, start_s, usable_streams
from mmperson.media.decode import Lane, Threads, decode
from mmperson.media.limits import DEFAULT_LIMITS, MediaLimits
from mmperson.media.probe import ClipInfo, describe
from mmperson.media.survey import SLACK_S, Survey, survey_index, survey_packets
from mmperson.media.video import FramePicker, plan_frames

if TYPE_CHECKING:
    from av.container import InputContainer


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
        warnings: What was missing, damaged or made do with; one sentence each.
    """

    info: ClipInfo
    frames: npt.NDArray[np.uint8] | None = None
    frame_times_s: npt.NDArray[np.float64] | None = None
    waveform: npt.NDArray[np.float32] | None = None
    sample_rate_hz: int | None = None
    waveform_start_s: float | None = None
    warnings: tuple[str, ...] = ()


def read_clip(
    path: str | os.PathLike[str],
    *,
    frames: int = 0,
    audio: AudioWindow | None = None,
    threads: Threads = "auto",
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Clip:
    """Decode what is wanted of a clip, and no more.

    A modality that is missing or damaged is None and a warning. The clip as a whole is an error
    only where nothing of it can be used.

    Args:
        path: A local file.
        frames: How many frames, nearest in time to the centres of as many equal parts of the video;
            where the video has fewer, the nearest are repeated. 0 decodes no video packet.
        audio: Which part of the audio, at which rate. None decodes no audio packet.
        threads: FFmpeg's threading of video: ``"auto"`` suits one clip, ``"none"`` a pool of
            workers.
        limits: What is refused.

    Returns:
        The clip.

    Raises:
        UsageError: A negative number of frames.
        MediaError: The file cannot be opened, is beyond a limit, or nothing in it can be used.
    """
    if frames < 0:
        raise UsageError(f"The number of frames is {frames}; it must be 0 or more.")
    with open_container(path, limits) as container:
        info = describe(container, path)
        survey = None if frames else survey_index(container)
        if survey is not None:
            return _read(container, info, survey, frames, audio, threads, limits)
        survey = survey_packets(container, usable_streams(container)[0], limits)
    if info.duration_s is None:
        info = replace(info, duration_s=survey.end_s)
    # Opened anew, because not every format finds back to its first packet.
    with open_container(path, limits) as container:
        return _read(container, info, survey, frames, audio, threads, limits)


def _read(
    container: InputContainer,
    info: ClipInfo,
    survey: Survey,
    frames: int,
    audio: AudioWindow | None,
    threads: Threads,
    limits: MediaLimits,
) -> Clip:
    """Decode from an open container that stands at its start."""
    video_stream, audio_stream = usable_streams(container)
    warnings: list[str] = []
    picking: Lane[FramePicker] | None = None
    collecting: Lane[WaveformCollector] | None = None
    if frames and video_stream is None:
        warnings.append("The clip has no video.")
    elif frames and video_stream is not None:
        limits.check("max_output_bytes", frames * video_stream.width * video_stream.height * 3)
        targets_s = plan_frames(survey.video_start_s, survey.video_end_s, frames)
        picking = Lane(video_stream, FramePicker(targets_s, limits))
    if audio is not None and audio_stream is None:
        warnings.append("The clip has no audio.")
    elif audio is not None and audio_stream is not None:
        collecting = Lane(audio_stream, WaveformCollector(audio, limits))

    lanes = [lane for lane in (picking, collecting) if lane is not None]
    faults = decode(container, lanes, start_s(container), threads, limits)
    if cut_short := survey.cut_short or next(iter(faults), None):
        warnings.append(f"The file is cut short or damaged: {cut_short}.")
    if lanes and not any(lane.decoded or lane.skipped for lane in lanes):
        _refuse_if_useless(info, lanes, cut_short)
    clip = Clip(info)
    if picking is not None:
        clip = _with_frames(clip, picking, survey, frames, warnings)
    if collecting is not None:
        clip = _with_waveform(clip, collecting, warnings)
    return replace(clip, warnings=tuple(warnings))


def _with_frames(
    clip: Clip, lane: Lane[FramePicker], survey: Survey, count: int, warnings: list[str]
) -> Clip:
    """Add the frames that were picked, and say what is wrong with them."""
    _warn_of_failures(lane, warnings)
    picked = lane.sink.finish()
    if picked is None or clip.info.video is None or lane.sink.rotation_deg is None:
        warnings.append("No frame of the video could be decoded.")
        return clip
    rgb, times_s = picked
    if lane.drained and lane.last_s < survey.video_last_s - SLACK_S:
        warnings.append(
            f"The video can be decoded up to {lane.last_s:.1f} s of {survey.video_last_s:.1f} s."
        )
    if (distinct := len(np.unique(times_s))) < count:
        warnings.append(f"Of the {count} frames asked for, {distinct} differ: the nearest repeat.")
    info = replace(clip.info, video=clip.info.video.turned(lane.sink.rotation_deg))
    return replace(clip, info=info, frames=rgb, frame_times_s=times_s)


def _with_waveform(clip: Clip, lane: Lane[WaveformCollector], warnings: list[str]) -> Clip:
    """Add the waveform that was collected, and say what is wrong with it."""
    _warn_of_failures(lane, warnings)
    collected = lane.sink.finish()
    if lane.sink.problem is not None:
        warnings.append(f"The audio is not used in full: {lane.sink.problem}.")
    if collected is None:
        warnings.append(
            f"The audio has nothing after {lane.sink.window.start_s:.1f} s."
            if lane.decoded or lane.skipped
            else "The audio could not be decoded."
        )
        return clip
    waveform, begin_s = collected
    rate_hz = lane.sink.window.sample_rate_hz
    return replace(clip, waveform=waveform, sample_rate_hz=rate_hz, waveform_start_s=begin_s)


def _warn_of_failures(lane: Lane[Any], warnings: list[str]) -> None:
    if lane.failed:
        warnings.append(f"{lane.failed} of {lane.fed} {lane.kind} packets could not be decoded.")


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
