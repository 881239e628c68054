"""Find clips and read transcripts in a corpus folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmperson.errors import DataError, TranscriptError
from mmperson.media.transcripts.transcript import find_transcript, read_transcript


def find_clips(folder: Path, sample_ids: Iterable[str]) -> dict[str, str]:
    """Return the absolute paths of the existing clips by name without ``.mp4``.

    Of clips with the same name, the first in path order wins.
    """
    names = set(sample_ids)
    clips: dict[str, str] = {}
    for path in sorted(folder.resolve().rglob("*.mp4")):
        if path.stem in names:
            clips.setdefault(path.stem, str(path))
    return clips


def read_text(path: Path | None) -> str:
    """Return the text of a transcript file, empty if there is none.

    Raises:
        DataError: The file is not a valid transcript.
    """
    if path is None or not path.is_file():
        return ""
    try:
        # Concatenated texts have byte-order marks in the middle.
        return " ".join(read_transcript(path).text.replace("\ufeff", "").split())
    except TranscriptError as error:
        raise DataError(str(error)) from error


def read_sidecar(clip: Path) -> str:
    """Return the text of the transcript next to a clip, see ``read_text``."""
    return read_text(find_transcript(clip))
