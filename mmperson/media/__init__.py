"""Bytes to decoded arrays: frames, waveform and transcript of a clip."""

from mmperson.media.audio import AudioWindow
from mmperson.media.clip import Clip
from mmperson.media.decode import Decode
from mmperson.media.limits import LONG_LIMITS, MediaLimits
from mmperson.media.probe import AudioInfo, ClipInfo, VideoInfo, probe_clip
from mmperson.media.read import read_clip, read_windows
from mmperson.media.transcripts.transcript import (
    Segment,
    Transcript,
    find_transcript,
    read_transcript,
)
from mmperson.media.windows import Span

__all__ = [
    "LONG_LIMITS",
    "AudioInfo",
    "AudioWindow",
    "Clip",
    "ClipInfo",
    "Decode",
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
