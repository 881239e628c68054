"""The types of a clip: its description, and what was read of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmperson.errors import UsageError

if TYPE_CHECKING:
    from mmperson.media.video import Frames


@dataclass(frozen=True)
class VideoInfo:
    """A video stream.

    Attributes:
        codec: FFmpeg's name of the decoder.
        width: Pixels of the upright picture; as stored if ``rotation_deg`` is None.
        height: Likewise.
        rotation_deg: Counter-clockwise rotation that makes the picture upright: 0, 90, 180 or 270.
            Only decoded frames carry it; None before.
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
        """Return the description of the upright picture, from that of the stored one."""
        width, height = self.width, self.height
        if rotation_deg % 180:
            width, height = height, width
        return replace(self, width=width, height=height, rotation_deg=rotation_deg)


@dataclass(frozen=True)
class AudioInfo:
    """An audio stream: FFmpeg's name of the decoder, and what the header declares."""

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
        video: The first usable video stream, None if there is none.
        audio: The first usable audio stream, None if there is none.
        size_bytes: Size of the file.
    """

    path: Path
    container: str
    duration_s: float | None
    video: VideoInfo | None
    audio: AudioInfo | None
    size_bytes: int


@dataclass(frozen=True)
class Span:
    """Seconds on the clip's clock, from ``start_s`` up to ``end_s``."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise UsageError(
                f"A span lasts from {self.start_s} to {self.end_s} s; it must begin at 0 or later "
                "and end after that."
            )


WHOLE = Span(0.0, inf)


@dataclass(frozen=True)
class Clip:
    """What was read of a clip; a modality that was not requested or not found is None.

    Times are seconds on the clip's clock, which is zero at the declared start of the file.

    Attributes:
        info: The file's description.
        frames: uint8 (frame, height, width, 3), upright RGB; converted on access, see
            ``FrameStack``.
        frame_times_s: float64 (frame,), presentation time of each frame.
        waveform: float32 (sample,), mono, [-1, 1].
        sample_rate_hz: Samples per second of the waveform.
        waveform_start_s: Time of the waveform's first sample; later than the window's start if the
            audio starts late.
        span: Which seconds were read, None for all.
        warnings: What was missing, damaged or approximated; one sentence each.
    """

    info: ClipInfo
    frames: Frames | None = None
    frame_times_s: npt.NDArray[np.float64] | None = None
    waveform: npt.NDArray[np.float32] | None = None
    sample_rate_hz: int | None = None
    waveform_start_s: float | None = None
    span: Span | None = None
    warnings: tuple[str, ...] = ()


def upright_deg(rotation: int) -> int:
    """Return a rotation as the nearest of 0, 90, 180 and 270 degrees.

    >>> upright_deg(-90)
    270
    """
    return round(rotation / 90) % 4 * 90
