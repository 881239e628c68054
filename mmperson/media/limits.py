"""Limits on the size of a clip.

A file of 200 kB can ask for hundreds of megabytes and for hours of decoding. Every limit is checked
as soon as its value is known: bytes before opening, streams, pixels and duration after opening,
frames, samples and pixels again while decoding, because headers lie.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmperson.errors import MediaTooLarge

_WHAT = {
    "max_bytes": ("The file has", "bytes"),
    "max_streams": ("The file has", "streams"),
    "max_duration_s": ("The clip lasts", "s"),
    "max_pixels": ("A video frame has", "pixels"),
    "max_frames": ("The video has", "frames"),
    "max_samples": ("The audio has", "samples per channel"),
    "max_output_bytes": ("The requested frames need", "bytes of memory"),
}


@dataclass(frozen=True)
class MediaLimits:
    """Limits of one clip.

    Attributes:
        max_bytes: Size of the file.
        max_streams: Streams of any kind.
        max_duration_s: Declared and measured length, in seconds.
        max_pixels: Width times height of a video frame.
        max_frames: Video frames that are demultiplexed or decoded.
        max_samples: Decoded audio samples per channel, at the file's own rate.
        max_output_bytes: Memory of the RGB frames that are returned.
    """

    max_bytes: int = 2 * 1024**3
    max_streams: int = 16
    max_duration_s: float = 1800.0
    max_pixels: int = 4096 * 2304
    max_frames: int = 120_000
    max_samples: int = 100_000_000
    max_output_bytes: int = 1024**3

    def check(self, limit: str, value: float) -> None:
        """Check a value.

        Args:
            limit: Name of the attribute, for example ``"max_pixels"``.
            value: The clip's value, in that attribute's unit.

        Raises:
            MediaTooLarge: The value exceeds the limit.
        """
        allowed = getattr(self, limit)
        if value > allowed:
            what, unit = _WHAT[limit]
            raise MediaTooLarge(
                f"{what} {value:.10g} {unit}; at most {allowed:.10g} are allowed.",
                hint=f"Use a shorter or smaller clip, or raise MediaLimits.{limit}.",
            )


DEFAULT_LIMITS = MediaLimits()

LONG_LIMITS = MediaLimits(
    max_bytes=32 * 1024**3, max_duration_s=6 * 3600.0, max_frames=6 * 3600 * 60
)
"""Limits of a recording that is read window by window, whose memory does not grow with it."""
