"""Find the media files of a folder by their suffixes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from mmperson.errors import UsageError

VIDEO_SUFFIXES: Final = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".flv", ".ogv"),
)
MEDIA_SUFFIXES: Final = (
    *VIDEO_SUFFIXES,
    *(".ogg", ".oga", ".opus", ".m4a", ".wav", ".flac", ".mp3"),
)


def expand_folders(clips: Sequence[str]) -> list[str]:
    """Replace each folder by the media files in it, sorted by name.

    Args:
        clips: Paths of files and folders.

    Raises:
        UsageError: A folder has no media file, or cannot be read.
    """
    expanded: list[str] = []
    for clip in clips:
        if not os.path.isdir(clip):
            expanded.append(clip)
            continue
        try:
            names = sorted(n for n in os.listdir(clip) if n.lower().endswith(MEDIA_SUFFIXES))
        except OSError as error:
            raise UsageError(
                f"The folder {clip!r} cannot be read: {error.strerror or error}.",
                hint="Give this account the right to read it, or name its clips one by one.",
            ) from error
        if not names:
            raise UsageError(f"The folder {clip!r} has no media file.")
        expanded += [os.path.join(clip, name) for name in names]
    return expanded
