"""Bytes to decoded arrays: frames, waveform and transcript of a clip."""

from typing import TYPE_CHECKING, Any

from mmperson.media.audio import AudioWindow
from mmperson.media.clip import AudioInfo, Clip, ClipInfo, Span, VideoInfo
from mmperson.media.decode import Decode
from mmperson.media.limits import LONG_LIMITS, MediaLimits
from mmperson.media.open import probe_clip
from mmperson.media.read import read_clip
from mmperson.media.transcripts.transcript import (
    Segment,
    Transcript,
    find_transcript,
    read_transcript,
)
from mmperson.media.video import FrameStack

if TYPE_CHECKING:
    from mmperson.media.windows import read_windows

__all__ = [
    "LONG_LIMITS",
    "AudioInfo",
    "AudioWindow",
    "Clip",
    "ClipInfo",
    "Decode",
    "FrameStack",
    "MediaLimits",
    "Segment",
    "Span",
    "Transcript",
    "VideoInfo",
    "find_transcript",
    "probe_clip",
    "read_clip",
    "read_transcript",
    "read_windows",
]


def __getattr__(name: str) -> Any:
    """Import what reads long recordings on first use: one clip needs none of it."""
    if name != "read_windows":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmperson.media.windows import read_windows

    return read_windows
