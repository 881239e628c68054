"""Open media files safely, and turn every foreign error into one of ours.

Four rules keep hostile files out. Only regular local files are opened. Only self-contained formats
are accepted: playlists and descriptions (ffconcat, HLS, DASH, SDP) make FFmpeg read other files or
the network, whatever the file is called, and a whitelist of protocols does not stop that. An index
of MP4 is checked, or the file is not read as MP4. Limits are checked before anything is decoded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.stream import Disposition

from mmperson.errors import EmptyMedia, MediaError, MediaTooLarge, UnreadableMedia
from mmperson.media.safety.mp4_index import check_index
from mmperson.media.safety.tags import check_riff_tags, leading_tags

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

    from mmperson.media.limits import MediaLimits

# No playlists, no descriptions of other files.
FORMATS = "matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,ogg,wav,flac,mp3"
# Only where the index was checked: FFmpeg finds MP4 behind a first box of any name.
MP4_FORMATS = f"mov,mp4,m4a,3gp,3g2,mj2,{FORMATS}"

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
            is_mp4 = check_index(file, size_bytes)
            tags = leading_tags(file)
            check_riff_tags(file, tags, size_bytes)
        options["format_whitelist"] = MP4_FORMATS if is_mp4 else FORMATS
        if tags:
            options["skip_initial_bytes"] = str(tags)
        if is_mp4 and not pictures:
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
