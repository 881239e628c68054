"""What a clip is, without decoding it: container, streams, sizes, rates and declared lengths."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import av

from mmperson.errors import MissingStream
from mmperson.media.limits import DEFAULT_LIMITS, MediaLimits
from mmperson.media.open import open_container, packets, usable_streams

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class VideoInfo:
    """A video stream.

    Attributes:
        codec: FFmpeg's name of the decoder.
        width: Pixels, as shown; as stored where ``rotation_deg`` is None.
        height: Pixels, as shown; as stored where ``rotation_deg`` is None.
        rotation_deg: Counter-clockwise rotation that makes the picture upright: 0, 90, 180 or 270.
            It comes with the first decoded frame; None where none was decoded.
        fps: Average frames per second, None if unknown.
        frames: Declared number of frames, None if undeclared.
        duration_s: Declared length in seconds, None if undeclared.
    """

    codec: str
    width: int
    height: int
    rotation_deg: int | None
    fps: float | None
    frames: int | None
    duration_s: float | None

    def turned(self, rotation_deg: int) -> VideoInfo:
        """Return the record of the upright picture, from that of the stored one."""
        width, height = self.width, self.height
        if rotation_deg % 180:
            width, height = height, width
        return replace(self, width=width, height=height, rotation_deg=rotation_deg)


@dataclass(frozen=True)
class AudioInfo:
    """An audio stream.

    Attributes:
        codec: FFmpeg's name of the decoder.
        sample_rate_hz: Declared samples per second.
        channels: Number of channels.
        duration_s: Declared length in seconds, None if undeclared.
    """

    codec: str
    sample_rate_hz: int
    channels: int
    duration_s: float | None


@dataclass(frozen=True)
class ClipInfo:
    """A clip.

    Attributes:
        path: The file.
        container: FFmpeg's name of the format, for example ``"matroska,webm"``.
        duration_s: Length in seconds, None if undeclared.
        video: The video stream that is read, None if there is none.
        audio: The audio stream that is read, None if there is none.
        size_bytes: Size of the file.
    """

    path: Path
    container: str
    duration_s: float | None
    video: VideoInfo | None
    audio: AudioInfo | None
    size_bytes: int


def probe_clip(path: str | os.PathLike[str], limits: MediaLimits = DEFAULT_LIMITS) -> ClipInfo:
    """Describe a clip; one video frame is decoded, because only frames tell their rotation.

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


def upright_deg(rotation: int) -> int:
    """Return a rotation as the nearest of 0, 90, 180 and 270 degrees.

    >>> upright_deg(-90)
    270
    """
    return round(rotation / 90) % 4 * 90


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
