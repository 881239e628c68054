"""Open media files safely, describe them, and map foreign exceptions to ``MediaError``.

Three rules against hostile files: only regular local files are opened; ``safety.check_file`` checks
a file before FFmpeg reads it; limits are checked before anything is decoded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.stream import Disposition

from mmperson.errors import (
    EmptyMedia,
    MediaError,
    MediaTooLarge,
    MissingStream,
    UnreadableMedia,
)
from mmperson.media.clip import AudioInfo, ClipInfo, VideoInfo, upright_deg
from mmperson.media.limits import DEFAULT_LIMITS, MediaLimits
from mmperson.media.safety import check_file

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

# PyAV 19 dropped the argument; before, undecodable metadata raises without it.
_METADATA: dict[str, Any] = (
    {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
)


def media_error(error: Exception, clip: str) -> MediaError:
    """Map a foreign exception to ours.

    Args:
        error: An ``av.error`` exception, or the UnicodeDecodeError of undecodable metadata.
        clip: The clip's path.

    Returns:
        MediaTooLarge if FFmpeg ran out of memory, else UnreadableMedia.
    """
    if isinstance(error, av.error.MemoryError):
        return MediaTooLarge(
            "The clip needs more memory than is available.",
            clip=clip,
            hint="Use a shorter or smaller clip.",
        )
    reason = getattr(error, "strerror", None) or str(error)
    return UnreadableMedia(
        f"{Path(clip).name!r} cannot be read as video or audio: {reason}.",
        clip=clip,
        hint="It may be damaged, cut off before its index, or of a format that is not accepted "
        "(playlists never are). Check that it plays, or convert it to MP4.",
    )


@contextmanager
def translate_errors(clip: str) -> Iterator[None]:
    """Map exceptions of PyAV and of the system inside the block to ours, which name the clip."""
    try:
        yield
    except (av.FFmpegError, OSError, UnicodeDecodeError) as error:
        raise media_error(error, clip) from error
    except MediaError as error:
        error.clip = error.clip or clip
        raise


@contextmanager
def open_container(
    path: str | os.PathLike[str], limits: MediaLimits, *, pictures: bool = True
) -> Iterator[InputContainer]:
    """Open a regular local file of an accepted format, within the limits.

    Args:
        path: The file.
        limits: What is refused.
        pictures: Whether frames will be decoded. If not, FFmpeg does not decode the first frame of
            an MP4 file, which takes longer than all audio of a short clip. In other formats that
            frame is needed: it also gives the start of the video.

    Yields:
        The open container; exceptions of PyAV inside the block are mapped to ours.

    Raises:
        UnreadableMedia: Not a regular file, not media, or a format that is not accepted.
        EmptyMedia: A file of zero bytes.
        MediaTooLarge: A limit is exceeded.
    """
    clip = os.fspath(path)
    size_bytes = _regular_file_size(clip)
    if size_bytes == 0:
        raise EmptyMedia(f"{Path(clip).name!r} has zero bytes.", clip=clip)
    # max_pixels reaches the decoders that probing opens: a frame too large is never allocated.
    options = {"max_pixels": str(limits.max_pixels)}
    with translate_errors(clip):
        limits.check("max_bytes", size_bytes)
        with open(clip, "rb") as file:
            is_mp4, required = check_file(file, size_bytes)
        options |= required
        if is_mp4 and not pictures:
            options["skip_frame"] = "all"  # does not affect audio
        with av.open(f"file:{clip}", "r", options=options, **_METADATA) as container:
            _check_declared(container, limits)
            yield container


def _regular_file_size(clip: str) -> int:
    """Return the size in bytes of a regular file; anything else is refused."""
    hint = "Only regular local files are opened, never URLs, folders, pipes or devices."
    try:
        status = os.stat(clip)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        message = f"{clip!r} cannot be opened: {reason}."
        raise UnreadableMedia(message, clip=clip, hint=hint) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableMedia(f"{clip!r} is not a regular file.", clip=clip, hint=hint)
    return status.st_size


def _check_declared(container: InputContainer, limits: MediaLimits) -> None:
    """Check what the header declares: streams, duration and pixels."""
    limits.check("max_streams", len(container.streams))
    limits.check("max_duration_s", (container.duration or 0) / av.time_base)
    for stream in container.streams.video:
        if stream.codec_context is not None:
            limits.check("max_pixels", stream.width * stream.height)


def videos(container: InputContainer) -> list[VideoStream]:
    """Return the video streams, without cover pictures."""
    streams = container.streams.video
    return [stream for stream in streams if not stream.disposition & Disposition.attached_pic]


def usable_streams(container: InputContainer) -> tuple[VideoStream | None, AudioStream | None]:
    """Return the first video stream and the first audio stream that can be decoded."""
    video = (stream for stream in videos(container) if stream.codec_context is not None)
    audio = (stream for stream in container.streams.audio if stream.codec_context is not None)
    return next(video, None), next(audio, None)


def start_s(container: InputContainer) -> float:
    """Return the container time at which the clip's clock is zero, in seconds."""
    return (container.start_time or 0) / av.time_base


def packets(
    container: InputContainer, streams: Sequence[Stream], faults: list[str]
) -> Iterator[Packet[Any]]:
    """Yield the packets of some streams in file order, up to a read error.

    The empty packets that PyAV appends to flush its decoders are left out.

    Args:
        container: An open container.
        streams: The streams.
        faults: A read error is appended here.
    """
    try:
        for packet in container.demux(*streams):
            if packet.size:
                yield packet
    except av.FFmpegError as error:
        faults.append(error.strerror or str(error))


def probe_clip(path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS) -> ClipInfo:
    """Describe a clip; one video frame is decoded, because only frames carry their rotation.

    Args:
        path: A local file.
        limits: What is refused.

    Returns:
        The description.

    Raises:
        MediaError: The file cannot be opened, exceeds a limit, or has no video or audio.
    """
    with open_container(path, limits) as container:
        info = describe(container, path)
        stream, _ = usable_streams(container)
        rotation_deg = None if stream is None else _first_rotation(container, stream)
        if info.video is None or rotation_deg is None:
            return info
        return replace(info, video=info.video.turned(rotation_deg))


def describe(container: InputContainer, path: str | os.PathLike[str]) -> ClipInfo:
    """Describe an open container.

    Raises:
        MissingStream: Neither video nor audio can be decoded.
    """
    video, audio = usable_streams(container)
    if video is None and audio is None:
        raise MissingStream(
            f"{Path(path).name!r} has no video or audio stream that can be decoded.",
            clip=os.fspath(path),
        )
    return ClipInfo(
        path=Path(path),
        container=container.format.name,
        duration_s=None if container.duration is None else container.duration / av.time_base,
        video=None
        if video is None
        else VideoInfo(
            codec=video.codec_context.name,
            width=video.width,
            height=video.height,
            rotation_deg=None,
            fps=float(video.average_rate) if video.average_rate else None,
            frames=video.frames or None,
            duration_s=_duration_s(video),
        ),
        audio=None
        if audio is None
        else AudioInfo(
            codec=audio.codec_context.name,
            sample_rate_hz=audio.codec_context.sample_rate,
            channels=audio.codec_context.channels,
            duration_s=_duration_s(audio),
        ),
        size_bytes=container.size,
    )


def _first_rotation(container: InputContainer, stream: VideoStream) -> int | None:
    """Return the rotation of the first frame that decodes."""
    stream.thread_type = "NONE"
    for packet in packets(container, [stream], []):
        try:
            for frame in packet.decode():
                return upright_deg(frame.rotation)
        except av.FFmpegError:
            return None
    return None


def _duration_s(stream: Stream) -> float | None:
    if stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)
