"""Find the transcript of a clip: the caller's text or file, or a sidecar file."""

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
"""The text as str, a file as Path, or None for a sidecar file."""


class TranscriptIdentity(NamedTuple):
    """The part of a transcript's identity that goes into a fingerprint.

    Attributes:
        words: The text from the caller, None for a file.
        file: Suffix, size in bytes and modification time in nanoseconds of the file, None if there
            is none.
    """

    words: str | None = None
    file: tuple[str, int, int] | None = None


_NO_TRANSCRIPT = TranscriptIdentity()


@dataclass(frozen=True)
class ResolvedTranscript:
    """The transcript of a clip, or why there is none.

    Attributes:
        identity: What it was resolved from, None if the caller's file does not exist.
        transcript: The transcript, None if there is none.
        warnings: Warnings for the record.
        unusable: Why an existing transcript is not used.
        error: Why the caller's file cannot be read.
    """

    identity: TranscriptIdentity | None = _NO_TRANSCRIPT
    transcript: Transcript | None = None
    warnings: tuple[str, ...] = ()
    unusable: str | None = None
    error: TranscriptError | None = None

    @property
    def text(self) -> str | None:
        """All words, None without a transcript."""
        return None if self.transcript is None else self.transcript.text

    @property
    def turns(self) -> str | None:
        """All words with a line per utterance, None without a transcript."""
        return None if self.transcript is None else self.transcript.turns

    def within(self, span: Span) -> ResolvedTranscript:
        """Return the transcript of a part of the clip; none if it has no times."""
        if self.transcript is None:
            return self
        if not self.transcript.segments:
            reason = "The transcript has no times: its words cannot be assigned to windows."
            warnings = (*self.warnings, reason)
            return replace(self, transcript=None, warnings=warnings, unusable=reason)
        return replace(self, transcript=self.transcript.within(span.start_s, span.end_s))


def resolve_transcript(
    clip: str, source: TranscriptSource, *, reads_text: bool
) -> ResolvedTranscript:
    """Find and read the transcript of a clip.

    A file is opened once: its text and ``identity`` are consistent even if the file changes.

    Args:
        clip: Path of the clip.
        source: The caller's text or file.
        reads_text: Whether to look for a sidecar file if the caller passes None.

    Returns:
        The transcript. If the caller's file cannot be read, ``error`` is set; an unreadable sidecar
        file is ignored with a warning.
    """
    if isinstance(source, str):
        warnings: tuple[str, ...] = ()
        if os.path.isfile(source):
            warnings = (
                f"The transcript {source!r} is used as text, but is the name of a file: "
                "pass a Path to read it.",
            )
        transcript = Transcript(source, turns=source)
        return ResolvedTranscript(TranscriptIdentity(source), transcript, warnings)
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
        warning = f"The sidecar file {path.name!r} is not used: {error.message}"
        reason = f"The sidecar transcript cannot be read: {error.message}"
        return ResolvedTranscript(identity, warnings=(warning,), unusable=reason)


def identify_transcript(
    clip: str, source: TranscriptSource, *, reads_text: bool
) -> TranscriptIdentity | None:
    """Return the ``identity`` of ``resolve_transcript`` without reading the file."""
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
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return TranscriptIdentity(file=(path.suffix, status.st_size, status.st_mtime_ns))
