"""Open media files safely, describe them, and turn every foreign error into one of ours.

Three rules keep hostile files out. Only regular local files are opened. ``safety.check_file`` reads
a file before FFmpeg does. Limits are checked before anything is decoded.
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
    """Return our error for a foreign one.

    Args:
        error: An ``av.error`` exception, or the UnicodeDecodeError of undecodable metadata.
        clip: The clip's path.

    Returns:
        MediaTooLarge where FFmpeg ran out of memory, else UnreadableMedia.
    """
    if isinstance(error, av.error.MemoryError):
        return MediaTooLarge(
            "The clip needs more memory than there is.",
            clip=clip,
            hint="Use a shorter or smaller clip.",
        )
    reason = getattr(error, "strerror", None) or str(error)
    return UnreadableMedia(
        f"{Path(clip).name!r} cannot be read as video or audio: {reason}.",
        clip=clip,
        hint="It may be damaged, cut off before its index, or of a kind that is not accepted "
        "(playlists never are). Check that it plays, or convert it to MP4.",
    )


@contextmanager
def translate_errors(clip: str) -> Iterator[None]:
    """Turn errors of PyAV and of the system inside the block into ours, which name the clip."""
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
        pictures: Whether any will be decoded. FFmpeg decodes the first one to learn its pixel
            format, which takes longer than all the sound of a short clip. In an MP4 file that is
            left out without them; in others it also tells when the video starts.

    Yields:
        The open container; errors of PyAV inside the block become ours.

    Raises:
        UnreadableMedia: No regular file, not media, or a format that is not accepted.
        EmptyMedia: A file of zero bytes.
        MediaTooLarge: Beyond a limit.
    """
    clip = os.fspath(path)
    size_bytes = regular_file_size(clip)
    if size_bytes == 0:
        raise EmptyMedia(f"{Path(clip).name!r} has zero bytes.", clip=clip)
    # max_pixels reaches the decoders that probing opens: a frame too large is never allocated.
    options = {"max_pixels": str(limits.max_pixels)}
    with translate_errors(clip):
        limits.check("max_bytes", size_bytes)
        with open(clip, "rb") as file:
            checked = check_file(file, size_bytes)
        options |= checked.options
        if checked.is_mp4 and not pictures:
            options["skip_frame"] = "all"  # to sound it means nothing
        with av.open(f"file:{clip}", "r", options=options, **_METADATA) as container:
            check_declared(container, limits)
            yield container


def regular_file_size(clip: str) -> int:
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


def check_declared(container: InputContainer, limits: MediaLimits) -> None:
    """Check what the header declares: streams, duration and pixels."""
    limits.check("max_streams", len(container.streams))
    limits.check("max_duration_s", (container.duration or 0) / av.time_base)
    for stream in container.streams.video:
        if stream.codec_context is not None:
            limits.check("max_pixels", stream.width * stream.height)


def videos(container: InputContainer) -> list[VideoStream]:
    """Return the video streams; a cover picture is none, though it is as long as the sound."""
    streams = container.streams.video
    return [stream for stream in streams if not stream.disposition & Disposition.attached_pic]


def usable_streams(container: InputContainer) -> tuple[VideoStream | None, AudioStream | None]:
    """Return the first decodable video stream that is no cover picture, and audio stream."""
    video = (stream for stream in videos(container) if stream.codec_context is not None)
    audio = (stream for stream in container.streams.audio if stream.codec_context is not None)
    return next(video, None), next(audio, None)


def start_s(container: InputContainer) -> float:
    """Return the container time at which the clip's clock reads zero, in seconds."""
    return (container.start_time or 0) / av.time_base


def packets(
    container: InputContainer, streams: Sequence[Stream], faults: list[str]
) -> Iterator[Packet[Any]]:
    """Yield the packets of some streams in file order; a read error ends them, noted in ``faults``.

    The empty packets that PyAV appends to flush its decoders are left out: whoever decodes also
    flushes.
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
        MediaError: The file cannot be opened, is beyond a limit, or has no video or audio.
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
        MissingStream: It has neither video nor audio that can be decoded.
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
