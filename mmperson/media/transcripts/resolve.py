"""The transcript of a clip: given words, a given file, or the file beside the clip."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmperson.errors import TranscriptError
from mmperson.media.transcripts.transcript import (
    Transcript,
    find_transcript,
    read_transcript_file,
)

if TYPE_CHECKING:
    from mmperson.media.clip import Span

TranscriptSource = str | os.PathLike[str] | None
"""The text itself as str, a file as Path, or None for the file beside the clip."""


class TranscriptIdentity(NamedTuple):
    """What a fingerprint knows of a transcript.

    Attributes:
        words: The words that the caller gave, None if they are those of a file.
        file: Suffix, size in bytes and time of the last change in nanoseconds of the file, None if
            there is no file.
    """

    words: str | None = None
    file: tuple[str, int, int] | None = None


_NO_TRANSCRIPT = TranscriptIdentity()


@dataclass(frozen=True)
class ResolvedTranscript:
    """The transcript of a clip, or why there is none.

    Attributes:
        identity: What it was resolved from, None where a given file is not there.
        transcript: The words, None if unknown.
        warnings: What the reader of the scores should know.
        unusable: Why a transcript that is there is not used.
        error: Why a given file cannot be read.
    """

    identity: TranscriptIdentity | None = _NO_TRANSCRIPT
    transcript: Transcript | None = None
    warnings: tuple[str, ...] = ()
    unusable: str | None = None
    error: TranscriptError | None = None

    @property
    def text(self) -> str | None:
        """All words, None if unknown."""
        return None if self.transcript is None else self.transcript.text

    @property
    def turns(self) -> str | None:
        """All words with a line per utterance, None if unknown."""
        return None if self.transcript is None else self.transcript.turns

    def within(self, span: Span) -> ResolvedTranscript:
        """Return the words of a part of the clip; none if the transcript has no times."""
        if self.transcript is None:
            return self
        if not self.transcript.segments:
            reason = "The transcript has no times: its words belong to no window."
            warnings = (*self.warnings, reason)
            return replace(self, transcript=None, warnings=warnings, unusable=reason)
        return replace(self, transcript=self.transcript.within(span.start_s, span.end_s))


def resolve_transcript(
    clip: str, source: TranscriptSource, *, reads_text: bool
) -> ResolvedTranscript:
    """Find and read the transcript of a clip.

    A file is opened once: the words and ``identity`` are of the same moment, whatever happens to
    the file meanwhile.

    Args:
        clip: Path of the clip.
        source: What the caller gives.
        reads_text: Whether to look beside the clip, if the caller gives nothing.

    Returns:
        The transcript. A given file that cannot be read is its ``error``; one that merely lies
        beside the clip is left alone, with a warning.
    """
    if isinstance(source, str):
        warnings: tuple[str, ...] = ()
        if os.path.isfile(source):
            warnings = (
                f"The transcript {source!r} is taken as words, and is the name of a file: "
                "give a Path to read it.",
            )
        given = Transcript(source, turns=source)
        return ResolvedTranscript(TranscriptIdentity(source), given, warnings)
    path = _locate(clip, source, reads_text=reads_text)
    if path is None:
        return ResolvedTranscript()
    identity = None
    try:
        file = read_transcript_file(path)
        identity = TranscriptIdentity(file=(path.suffix, file.size_bytes, file.modified_ns))
        return ResolvedTranscript(identity, file.parse())
    except TranscriptError as error:
        identity = identity or _identity(path)
        if source is not None:
            return ResolvedTranscript(identity, error=error)
        warning = f"{path.name!r}, beside the clip, is not used: {error.message}"
        reason = f"The transcript beside the clip cannot be read: {error.message}"
        return ResolvedTranscript(identity, warnings=(warning,), unusable=reason)


def identify_transcript(
    clip: str, source: TranscriptSource, *, reads_text: bool
) -> TranscriptIdentity | None:
    """Return the ``identity`` that ``resolve_transcript`` would give, without reading the file."""
    if isinstance(source, str):
        return TranscriptIdentity(source)
    path = _locate(clip, source, reads_text=reads_text)
    return _NO_TRANSCRIPT if path is None else _identity(path)


def _locate(clip: str, source: os.PathLike[str] | None, *, reads_text: bool) -> Path | None:
    if source is not None:
        return Path(source)
    return find_transcript(clip) if reads_text else None


def _identity(path: Path) -> TranscriptIdentity | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return TranscriptIdentity(file=(path.suffix, status.st_size, status.st_mtime_ns))
