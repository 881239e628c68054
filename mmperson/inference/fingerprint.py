"""What a record was made from, in one short hash: the bundle, the clip and its transcript.

A batch that runs again skips a clip whose hash has not changed. Files count by size and time of
change, as reading them all would cost more than scoring them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence

from mmperson.inference.bundle import Bundle
from mmperson.media.transcripts.resolve import (
    TranscriptIdentity,
    TranscriptSource,
    identify_transcript,
)


def fingerprint(
    bundle: Bundle,
    clip: str,
    transcript: TranscriptSource = None,
    settings: Sequence[str | float | None] = ("exact", "cpu"),
) -> str | None:
    """Return the hash of what a clip would be scored from now.

    Args:
        bundle: The bundle that scores.
        clip: Path of the clip.
        transcript: The text itself as str, a file as Path, or None for the file beside the clip.
        settings: What else decides the scores: decode profile, provider, and length and step of
            windows.

    Returns:
        32 hex digits; None if the clip or a transcript that was named is not there.
    """
    reads_text = "text" in bundle.info.modalities
    identity = identify_transcript(clip, transcript, reads_text=reads_text)
    return hash_sources(bundle, clip, identity, settings)


def hash_sources(
    bundle: Bundle,
    clip: str,
    transcript: TranscriptIdentity | None,
    settings: Sequence[str | float | None],
) -> str | None:
    """Return the hash of what a clip is scored from; see ``fingerprint``.

    Args:
        bundle: The bundle that scores.
        clip: Path of the clip, which is not read before this.
        transcript: What was resolved; None if a transcript that was named is not there.
        settings: What else decides the scores.
    """
    if transcript is None:
        return None
    try:
        status = os.stat(clip)
        facts = [bundle.hash, (status.st_size, status.st_mtime_ns), *transcript, *settings]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
