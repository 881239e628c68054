"""Clips and transcripts where they lie in a corpus's folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmperson.errors import DataError, TranscriptError
from mmperson.media.transcripts.transcript import find_transcript, read_transcript


def find_clips(folder: Path, sample_ids: Iterable[str]) -> dict[str, str]:
    """Return the absolute path of each clip that is there, by its name without ``.mp4``.

    Of two clips with one name, the first in the order of paths counts.
    """
    wanted = set(sample_ids)
    clips: dict[str, str] = {}
    for path in sorted(folder.resolve().rglob("*.mp4")):
        if path.stem in wanted:
            clips.setdefault(path.stem, str(path))
    return clips


def read_text(path: Path | None) -> str:
    """Return the words of a transcript's file, empty if there is no file.

    Raises:
        DataError: The file cannot be read as a transcript.
    """
    if path is None or not path.is_file():
        return ""
    try:
        # Texts that were pasted together have byte-order marks at their joints.
        return " ".join(read_transcript(path).text.replace("\ufeff", "").split())
    except TranscriptError as error:
        raise DataError(str(error)) from error


def read_text_beside(clip: Path) -> str:
    """Return the words of the transcript beside a clip, empty if there is none.

    Raises:
        DataError: The file cannot be read as a transcript.
    """
    return read_text(find_transcript(clip))
