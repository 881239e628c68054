"""What is said in a clip: given words, a given file, or the file beside the clip."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmperson.errors import TranscriptError
from mmperson.media import Transcript, find_transcript, read_transcript

if TYPE_CHECKING:
    from mmperson.media import Span

TranscriptSource = str | os.PathLike[str] | None
"""The text itself as str, a file as Path, or None for the file beside the clip."""


@dataclass(frozen=True)
class ResolvedTranscript:
    """What is said in a clip, or why that is not known.

    Attributes:
        transcript: The words, None if unknown.
        warnings: What the reader of the scores should know.
        unusable: Why a transcript that is there is not used.
    """

    transcript: Transcript | None = None
    warnings: tuple[str, ...] = ()
    unusable: str | None = None

    @property
    def text(self) -> str | None:
        """All words, None if unknown."""
        return None if self.transcript is None else self.transcript.text

    @property
    def turns(self) -> str | None:
        """All words with a line per utterance, None if unknown."""
        return None if self.transcript is None else self.transcript.turns

    def within(self, span: Span) -> ResolvedTranscript:
        """Return what is said in a part of the clip: nothing is known if no word has a time."""
        if self.transcript is None:
            return self
        if not self.transcript.segments:
            reason = "The transcript has no times: its words belong to no window."
            return ResolvedTranscript(None, (*self.warnings, reason), reason)
        return replace(self, transcript=self.transcript.within(span.start_s, span.end_s))


def resolve_transcript(
    clip: str, transcript: TranscriptSource, *, reads_text: bool
) -> ResolvedTranscript:
    """Find out what is said in a clip.

    Args:
        clip: Path of the clip.
        transcript: What the caller gives.
        reads_text: Whether to look beside the clip, if the caller gives nothing.

    Raises:
        TranscriptError: The file that the caller gives cannot be read; one that merely lies beside
            the clip is left alone, with a warning.
    """
    if isinstance(transcript, str):
        given = Transcript(transcript, turns=transcript)
        if not os.path.isfile(transcript):
            return ResolvedTranscript(given)
        warning = (
            f"The transcript {transcript!r} is taken as words, and is the name of a file: "
            "give a Path to read it."
        )
        return ResolvedTranscript(given, (warning,))
    if transcript is not None:
        return ResolvedTranscript(read_transcript(transcript))
    path = find_transcript(clip) if reads_text else None
    if path is None:
        return ResolvedTranscript()
    try:
        return ResolvedTranscript(read_transcript(path))
    except TranscriptError as error:
        warning = f"{path.name!r}, beside the clip, is not used: {error.message}"
        reason = f"The transcript beside the clip cannot be read: {error.message}"
        return ResolvedTranscript(None, (warning,), reason)
