"""Hash the sources of a record: bundle, clip, transcript and settings.

A batch that is run again skips clips with an unchanged hash. Files are identified by size and
modification time, because reading them would take longer than scoring.
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
    """Return the hash of a clip's current sources.

    Args:
        bundle: The bundle.
        clip: Path of the clip.
        transcript: The text as str, a file as Path, or None for a sidecar file.
        settings: Other settings that affect the scores: decode profile, provider, and length and
            step of windows.

    Returns:
        32 hex digits; None if the clip or the named transcript does not exist.
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
    """Return the hash of a clip's sources from a resolved transcript, see ``fingerprint``."""
    if transcript is None:
        return None
    try:
        status = os.stat(clip)
        facts = [bundle.hash, (status.st_size, status.st_mtime_ns), *transcript, *settings]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
