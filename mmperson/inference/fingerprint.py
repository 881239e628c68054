"""What a record was made from, in one short hash: the bundle, the clip and its transcript.

A batch that runs again skips a clip whose hash has not changed. Files count by size and time of
change, as reading them all would cost more than scoring them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from mmperson.inference.bundle import Bundle
from mmperson.media.transcripts.transcript import find_transcript


def fingerprint(
    bundle: Bundle,
    clip: str,
    transcript: str | os.PathLike[str] | None = None,
    how: Sequence[str | float | None] = ("exact", "cpu"),
) -> str | None:
    """Return the hash of what a clip is scored from.

    Args:
        bundle: The bundle that scores.
        clip: Path of the clip.
        transcript: The text itself as str, a file as Path, or None for the file beside the clip.
        how: What else decides the scores: decode profile, provider, and length and step of windows.

    Returns:
        32 hex digits; None if the clip or a transcript that was named is not there.
    """
    try:
        if transcript is None and "text" in bundle.info.modalities:
            transcript = find_transcript(clip)
        words = transcript if isinstance(transcript, str) else None
        named = None if isinstance(transcript, str | None) else Path(transcript)
        file = named and [named.suffix, *_state(named)]
        facts = [bundle.hash, _state(Path(clip)), words, file, *how]
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _state(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of the last change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
