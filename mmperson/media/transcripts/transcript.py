"""Read a transcript from a sidecar file: plain text, SubRip, WebVTT or Whisper-style JSON."""

from __future__ import annotations

import codecs
import html
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmperson.errors import TranscriptError

if TYPE_CHECKING:
    from mmperson.media.transcripts.word_times import WordTimes

MAX_BYTES = 4_000_000  # the words of a whole day; a larger file is not a transcript
SUFFIXES = (".txt", ".srt", ".vtt", ".json")

# Longest first: the UTF-32 mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,6}))?"
_CUE_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?$", re.ASCII)
_PREFIX_TIMES = re.compile(rf"\s*\[\s*{_CLOCK}\s*-\s*{_CLOCK}\s*\]", re.ASCII)
# No repetition can match the start of what follows it: matching takes linear time.
_VOICE = re.compile(r"\s*<v(?:\.[^\s<>]*)?\s+([^<>\s][^<>]*)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<[\d:.]+>|\{\\[^{}]*\}")


@dataclass(frozen=True)
class Segment:
    """Words with their time in seconds on the clip's clock, and their speaker if known."""

    start_s: float
    end_s: float
    text: str
    speaker: str | None = None


@dataclass(frozen=True)
class Transcript:
    """The words of a clip.

    Attributes:
        text: All words with single spaces; empty if there are none.
        segments: The timed parts, empty if the file has no times.
        source: Name of the file, or ``"given"``.
        turns: The same words with a line per line or timed part of the file; the line starts with
            ``Name: `` if the file names the speaker.
    """

    text: str
    segments: tuple[Segment, ...] = ()
    source: str = "given"
    turns: str = field(default="", compare=False)

    def within(self, start_s: float, end_s: float) -> Transcript:
        """Return the words spoken in a time range.

        The words of a segment are assumed to be evenly spaced. Each word is in exactly one of
        adjacent windows.

        Args:
            start_s: Start in seconds on the clip's clock, inclusive.
            end_s: End, exclusive.

        Returns:
            The transcript of that range; its times are still on the clip's clock.
        """
        segments = []
        for index, words in self._word_times.within(start_s, end_s):
            segment = self.segments[index]
            low, high = max(segment.start_s, start_s), min(segment.end_s, end_s)
            segments.append(Segment(low, high, words, segment.speaker))
        text = " ".join(segment.text for segment in segments)
        turns = "\n".join(map(_spoken, segments))
        return Transcript(text, tuple(segments), self.source, turns)

    @cached_property
    def _word_times(self) -> WordTimes:
        from mmperson.media.transcripts.word_times import WordTimes  # only windows need it

        return WordTimes(self.segments)


@dataclass(frozen=True)
class TranscriptFile:
    """A consistent snapshot of a transcript file.

    Attributes:
        path: The file.
        content: Its first ``MAX_BYTES + 1`` bytes.
        size_bytes: Its size.
        modified_ns: Its modification time in nanoseconds.
    """

    path: Path
    content: bytes
    size_bytes: int
    modified_ns: int

    def parse(self) -> Transcript:
        """Parse the transcript, see ``read_transcript``."""
        try:
            if len(self.content) > MAX_BYTES:
                raise TranscriptError(
                    f"{self.path.name!r} has more than {MAX_BYTES} bytes.",
                    hint="Check that it is a transcript.",
                )
            content = _decode(self.content)
            return parse_transcript(content, self.path.suffix, source=self.path.name)
        except TranscriptError as error:
            error.clip = error.clip or str(self.path)
            raise


def find_transcript(clip_path: str | os.PathLike[str]) -> Path | None:
    """Return a clip's sidecar file: the same stem with .txt, .srt, .vtt or .json.

    Args:
        clip_path: The clip, which need not exist.

    Returns:
        The file, None if there is none.
    """
    clip = Path(clip_path)
    candidates = (clip.parent / f"{clip.stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in candidates if os.path.isfile(path) and path != clip), None)


def read_transcript(path: str | os.PathLike[str]) -> Transcript:
    """Read a transcript; the suffix of the file name gives its format.

    Encodings: UTF-8, UTF-16 and UTF-32 with a byte-order mark, else Latin-1.

    Args:
        path: A .txt, .srt, .vtt or .json file of at most 4 MB.

    Returns:
        The transcript.

    Raises:
        TranscriptError: The file cannot be read, is too large, or is malformed; the message names
            the line.
    """
    return read_transcript_file(path).parse()


def read_transcript_file(path: str | os.PathLike[str]) -> TranscriptFile:
    """Read the bytes, size and modification time of a transcript file.

    Args:
        path: A regular file.

    Raises:
        TranscriptError: It cannot be read, or is not a regular file.
    """
    path = Path(path)
    try:
        # Non-blocking, so that opening a pipe returns and can be refused.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise TranscriptError(f"{str(path)!r} is not a regular file.", clip=str(path))
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise TranscriptError(f"{str(path)!r} cannot be read: {error}.", clip=str(path)) from error
    return TranscriptFile(path, content, status.st_size, status.st_mtime_ns)


def parse_transcript(content: str, suffix: str, source: str = "given") -> Transcript:
    """Parse the content of a transcript file.

    Args:
        content: The decoded text.
        suffix: The format: ``.txt``, ``.srt``, ``.vtt`` or ``.json``, case-insensitive.
        source: Its origin, for ``Transcript.source`` and messages.

    Returns:
        The transcript.

    Raises:
        TranscriptError: It is malformed; the message names the line.

    >>> parse_transcript("[00:00 - 00:03] Good morning.", ".txt").segments
    (Segment(start_s=0.0, end_s=3.0, text='Good morning.'),)
    """
    match suffix.lower():
        case ".txt":
            text, segments = _parse_text(content, source)
        case ".srt" | ".vtt" as kind:
            segments = tuple(_parse_cues(content, source, is_vtt=kind == ".vtt"))
            text = None
        case ".json":
            text, segments = _parse_json(content, source)
        case _:
            raise TranscriptError(
                f"{source!r} ends in {suffix!r}; transcripts end in {', '.join(SUFFIXES)}."
            )
    lines = (text or "").splitlines()
    if text is None or any(part.speaker for part in segments):
        lines = list(map(_spoken, segments))
    if text is None:
        text = " ".join(segment.text for segment in segments if segment.text)
    turns = "\n".join(line for line in map(_tidy, lines) if line)
    return Transcript(_tidy(text), segments, source, turns)


def _spoken(part: Segment) -> str:
    return f"{part.speaker}: {part.text}" if part.speaker else part.text


def _decode(content: bytes) -> str:
    """Return the text of a file in one of the usual encodings."""
    marked = next((x for mark, x in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    try:
        text = content.decode(marked or "utf-8")
    except UnicodeDecodeError as error:
        if marked:
            reason = f"The byte-order mark names {marked}, but: {error.reason}."
            raise TranscriptError(reason) from error
        text = content.decode("latin-1")
    if not marked and "\0" in text:
        raise TranscriptError("The file contains NUL characters.", hint="Save it as UTF-8 text.")
    return text


def _parse_text(content: str, source: str) -> tuple[str | None, tuple[Segment, ...]]:
    """Parse plain text, in which lines may begin with ``[mm:ss - mm:ss]``."""
    lines = content.splitlines()
    if not any(_PREFIX_TIMES.match(line) for line in lines):
        return content, ()
    untimed: list[str] = []
    blocks: list[tuple[re.Match[str], int, list[str]]] = []
    for number, line in enumerate(lines, start=1):
        if times := _PREFIX_TIMES.match(line):
            blocks.append((times, number, [line[times.end() :]]))
        else:
            (blocks[-1][2] if blocks else untimed).append(line)
    segments = [_segment(times, " ".join(words), source, at) for times, at, words in blocks]
    return "\n".join([*untimed, *(segment.text for segment in segments)]), tuple(segments)


def _parse_cues(content: str, source: str, *, is_vtt: bool) -> Iterator[Segment]:
    """Parse the cues of SubRip or WebVTT: blocks of lines between blank lines."""
    for number, block in _blocks(content):
        if is_vtt and number == 1 and block[0].lstrip("\ufeff").startswith("WEBVTT"):
            continue
        if is_vtt and re.match(r"(NOTE|STYLE|REGION)(\s|$)", block[0]):
            continue
        # The first line may be the cue's number or name.
        at = next((i for i, line in enumerate(block[:2]) if "-->" in line), None)
        times = None if at is None else _CUE_TIMES.match(block[at])
        if at is None or times is None:
            numbered = len(block) > 1 and block[0].strip().isdigit()
            bad = int(numbered) if at is None else at
            raise TranscriptError(
                f"{source!r}, line {number + bad}: expected times such as "
                f"'00:00:01.000 --> 00:00:02.500', found {block[bad][:60]!r}."
            )
        words = " ".join(block[at + 1 :])
        voice = _VOICE.match(words) if is_vtt else None
        segment = _segment(times, _unescape(_TAG.sub("", words)), source, number + at)
        yield replace(segment, speaker=_name(_unescape(voice[1]))) if voice else segment


def _unescape(words: str) -> str:
    """Replace HTML entities, as far as they can be parsed."""
    try:
        return html.unescape(words)
    except ValueError:  # a number of thousands of digits
        return words


def _blocks(content: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the runs of non-blank lines, with the number of the first line."""
    block: list[str] = []
    lines = re.split(r"\r\n|\r|\n", content)
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _segment(times: re.Match[str], words: str, source: str, number: int) -> Segment:
    """Return a segment from matched times and raw words."""
    parts = times.groups()
    start_s, end_s = _seconds(parts[:4]), _seconds(parts[4:])
    if end_s < start_s:
        raise TranscriptError(f"{source!r}, line {number}: the segment ends before it starts.")
    return Segment(start_s, end_s, _tidy(words))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(f"{seconds}.{fraction or 0}")


def _parse_json(content: str, source: str) -> tuple[str | None, tuple[Segment, ...]]:
    """Parse a string, ``{"text"}``, ``{"segments": [{"start", "end", "text"}]}`` or such a list."""
    try:
        data = json.loads(content)
    except json.JSONDecodeError as error:
        raise TranscriptError(f"{source!r}, line {error.lineno}: {error.msg}.") from error
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        raise TranscriptError(f"{source!r} is not valid JSON: {error}.") from error
    if isinstance(data, str):
        return data, ()
    text: Any = None
    if isinstance(data, dict):
        text = data.get("text")
        data = data.get("segments", [] if isinstance(text, str) else None)
    if not isinstance(data, list) or not isinstance(text, str | None):
        raise TranscriptError(
            f"{source!r}, line 1: expected a string, a list of segments, or an object with 'text' "
            "or 'segments'."
        )
    return text, tuple(_json_segment(item, n, source) for n, item in enumerate(data, start=1))


def _json_segment(item: Any, number: int, source: str) -> Segment:
    """Check one entry of a list of segments."""
    problem = f"{source!r}, segment {number}: "
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        raise TranscriptError(f"{problem}expected an object with 'start', 'end' and 'text'.")
    start_s: Any = item.get("start")
    end_s: Any = item.get("end")
    if type(start_s) not in (int, float) or type(end_s) not in (int, float):
        raise TranscriptError(f"{problem}'start' and 'end' must be numbers of seconds.")
    if not 0 <= start_s <= end_s < 1e9:
        raise TranscriptError(
            f"{problem}its times {start_s} and {end_s} s are out of order or range."
        )
    speaker = item.get("speaker")
    name = _name(speaker) if isinstance(speaker, str) else None
    return Segment(float(start_s), float(end_s), _tidy(item["text"]), name)


def _name(text: str) -> str | None:
    """Return at most three words of a speaker's name, without colons, which would end it."""
    return " ".join(_tidy(text.replace(":", " ")).split()[:3]) or None


def _tidy(text: str) -> str:
    """Return text with single spaces; lone surrogates become '?'."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
