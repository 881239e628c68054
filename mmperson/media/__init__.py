"""Bytes to decoded arrays: frames, waveform and transcript of a clip."""

from mmperson.media.audio import AudioWindow
from mmperson.media.clip import Clip, read_clip
from mmperson.media.limits import MediaLimits
from mmperson.media.probe import AudioInfo, ClipInfo, VideoInfo, probe_clip
from mmperson.media.transcript import Segment, Transcript, find_transcript, read_transcript

__all__ = [
    "AudioInfo",
    "AudioWindow",
    "Clip",
    "ClipInfo",
    "MediaLimits",
    "Segment",
    "Transcript",
    "VideoInfo",
    "find_transcript",
    "probe_clip",
    "read_clip",
    "read_transcript",
]
