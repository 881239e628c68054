import os
from pathlib import Path

import pytest

from mmperson.media import Span
from mmperson.media.transcripts.resolve import identify_transcript, resolve_transcript


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(tmp_path / "talk.mp4")


def write(clip: str, words: str, suffix: str = ".txt") -> Path:
    path = Path(clip).with_suffix(suffix)
    path.write_text(words, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["beside", "given", "words", "none", "unread"])
def test_what_is_resolved_is_what_is_identified(clip: str, kind: str) -> None:
    path = write(clip, "Hello there.")
    source = {"given": path, "words": "Hello there."}.get(kind)
    if kind == "none":
        path.unlink()
    reads_text = kind != "unread"
    resolved = resolve_transcript(clip, source, reads_text=reads_text)
    assert resolved.text == (None if kind in ("none", "unread") else "Hello there.")
    assert resolved.identity == identify_transcript(clip, source, reads_text=reads_text)


@pytest.mark.parametrize("content", ["[1, 2", "x" * 4_000_001])
def test_an_unusable_file_still_has_an_identity(clip: str, content: str) -> None:
    path = write(clip, content, ".json")
    for source in (None, path):
        resolved = resolve_transcript(clip, source, reads_text=True)
        assert resolved.text is None
        assert (resolved.error is None) == (source is None)
        assert resolved.identity is not None
        assert resolved.identity == identify_transcript(clip, source, reads_text=True)


def test_a_file_that_is_not_there_has_no_identity(clip: str) -> None:
    source = Path(clip).with_suffix(".txt")
    resolved = resolve_transcript(clip, source, reads_text=True)
    assert resolved.error is not None
    assert resolved.identity is identify_transcript(clip, source, reads_text=True) is None


def test_words_and_identity_are_of_one_moment(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(clip, "before")
    old = identify_transcript(clip, None, reads_text=True)
    real = os.fstat

    def replace_file(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        fresh = path.with_suffix(".new")
        fresh.write_text("after, and longer", encoding="utf-8")
        fresh.replace(path)
        return status

    monkeypatch.setattr("mmperson.media.transcripts.transcript.os.fstat", replace_file)
    resolved = resolve_transcript(clip, None, reads_text=True)
    monkeypatch.undo()
    assert (resolved.text, resolved.identity) == ("before", old)
    assert identify_transcript(clip, None, reads_text=True) != old


def test_windows_of_an_untimed_transcript_have_no_words(clip: str) -> None:
    write(clip, "No times here.")
    part = resolve_transcript(clip, None, reads_text=True).within(Span(0.0, 2.0))
    assert part.text is None
    assert part.unusable is not None
    assert part.unusable in part.warnings
