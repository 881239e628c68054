import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmperson.errors import TranscriptError
from mmperson.media import Segment, Transcript, find_transcript, read_transcript
from mmperson.media.transcripts import transcript as module
from mmperson.media.transcripts.transcript import SUFFIXES, parse_transcript

EXPECTED = (Segment(0.5, 2.0, "Good morning."), Segment(2.0, 3662.25, "I am here."))
SRT = """1
00:00:00,500 --> 00:00:02,000
Good
<i>morning</i>.

2
00:00:02,000 --> 01:01:02,250
{\\an8}I am here.
"""
VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

NOTE a comment that is
two lines long

intro
00:00.500 --> 00:02.000 align:start position:0%
<v Anna>Good <c.loud>morn<00:00:01.000>ing</c>.</v>

00:02.000 --> 01:01:02.250
I am&nbsp;here.
"""
WHISPER = {
    "text": " Good morning. I am here.",
    "segments": [
        {"id": 0, "start": 0.5, "end": 2, "text": " Good morning."},
        {"id": 1, "start": 2.0, "end": 3662.25, "text": " I am here."},
    ],
}
SPAN = "[00:00 - 00:03] Good\n[00:03 - 01:02:05] morning,\nall of you."


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".srt", SRT),
        (".SRT", SRT.replace("\n", "\r\n") + "\r\n\r\n"),
        (".vtt", VTT),
        (".json", json.dumps(WHISPER)),
        (".json", json.dumps({"segments": WHISPER["segments"]})),
        (".json", json.dumps(WHISPER["segments"])),
    ],
)
def test_timed_formats_agree(suffix: str, content: str) -> None:
    transcript = parse_transcript(content, suffix, "talk")
    unnamed = tuple(replace(part, speaker=None) for part in transcript.segments)
    assert replace(transcript, segments=unnamed) == Transcript(
        "Good morning. I am here.", EXPECTED, "talk"
    )


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".txt", "  Good\n morning.\n"),
        (".json", '"Good morning."'),
        (".json", '{"text": "Good morning.", "language": "en"}'),
    ],
)
def test_untimed_formats(suffix: str, content: str) -> None:
    assert parse_transcript(content, suffix) == Transcript("Good morning.", (), "given")


def test_times_before_lines_of_plain_text() -> None:
    transcript = parse_transcript(SPAN, ".txt")
    assert transcript.text == "Good morning, all of you."
    assert transcript.segments == (
        Segment(0.0, 3.0, "Good"),
        Segment(3.0, 3725.0, "morning, all of you."),
    )


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".txt", "Ann:  Hello.\n\nBob: Hi."),
        (".txt", "[00:00 - 00:01] Ann: Hello.\n[00:01 - 00:02] Bob: Hi."),
        (".srt", "00:00:00,0 --> 00:00:01,0\nAnn: Hello.\n\n00:00:01,0 --> 00:00:02,0\nBob: Hi."),
        (".vtt", "WEBVTT\n\n00:00.0 --> 00:01.0\n<v Ann>Hello.</v>\n\n"
                 "00:01.0 --> 00:02.0\n<v.loud Bob>Hi."),
        (".json", '[{"start": 0, "end": 1, "text": "Hello.", "speaker": "Ann"},'
                  ' {"start": 1, "end": 2, "text": "Hi.", "speaker": "Bob"}]'),
    ],
)  # fmt: skip
def test_turns_keep_lines_and_say_who_speaks(suffix: str, content: str) -> None:
    assert parse_transcript(content, suffix).turns == "Ann: Hello.\nBob: Hi."


def test_words_in_brackets_stay() -> None:
    assert parse_transcript("I said [no] to [NAME].", ".txt").text == "I said [no] to [NAME]."
    assert parse_transcript(f"{VTT}\n00:09.0 --> 00:10.0\n3 < 5 and 6 > 2", ".vtt").text.endswith(
        "3 < 5 and 6 > 2"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_blank_is_blank_or_an_error(suffix: str) -> None:
    if suffix == ".json":
        with pytest.raises(TranscriptError, match="line 1"):
            parse_transcript("", suffix)
    else:
        assert parse_transcript("\n \n", suffix).text == ""


@pytest.mark.parametrize(
    ("suffix", "content", "where"),
    [
        (".srt", SRT + "\n3\n00:00:09 -> 00:00:10\nOops.", "line 11"),
        (".srt", SRT.replace("01:01:02,250", "one o'clock"), "line 7"),
        (".srt", SRT.replace("01:01:02,250", "00:00:01,000"), "line 7"),
        (".vtt", VTT.replace("00:02.000 -->", "zero -->"), "line 14"),
        (".vtt", "Just words,\nno times.", "line 1"),
        (".txt", "Hello.\n[00:09 - 00:03] Backwards.", "line 2"),
        (".json", '{"text":\n "unfinished', "line 2"),
        (".json", '{"words": []}', "line 1"),
        (".json", "12", "line 1"),
        (".json", '{"text": 12, "segments": []}', "line 1"),
        (".json", '[{"start": 0, "end": 1, "text": "a"}, {"text": "b"}]', "segment 2"),
        (".json", '[{"start": 2, "end": 1, "text": "a"}]', "segment 1"),
        (".json", '[{"start": NaN, "end": 1, "text": "a"}]', "segment 1"),
        (".json", '["words"]', "segment 1"),
        (".json", "[" * 100_000, "not valid JSON"),
        (".json", "9" * 10_000, "not valid JSON"),
        (".docx", "words", ".docx"),
    ],
)
def test_what_is_malformed_is_named(suffix: str, content: str, where: str) -> None:
    with pytest.raises(TranscriptError, match=where) as caught:
        parse_transcript(content, suffix, "talk.x")
    assert "'talk.x'" in str(caught.value)


def test_a_character_that_is_no_number_stays() -> None:
    words = f"&#{'9' * 5000}; &amp; more"
    assert parse_transcript(f"00:01.0 --> 00:02.0\n{words}", ".vtt").text == words


def cpu_s(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


CUE = "WEBVTT\n\n00:00.0 --> 00:01.0\n"
HOSTILE = {
    "lines without times": (".txt", "[00:00 - 00:01] a\n{}", "b\n"),
    "lines with times": (".txt", "{}", "[00:00 - 00:01] a\n"),
    "half a time": (".txt", "[00:00 - 00:01]\n[{}", " "),
    "cues": (".srt", "{}", "0:0-->0:0\na\n\n"),
    "half a cue": (".srt", "00:00:00,000{}", " "),
    "white space in a cue's times": (".srt", "00:00:00,0 -->{}", " "),
    "a name of spaces": (".vtt", CUE + "<v{}x", " "),
    "a name without an end": (".vtt", CUE + "<v {}", "x"),
    "a name after classes": (".vtt", CUE + "<v.{}", ".x"),
    "names": (".vtt", CUE + "{}", "<v "),
    "tags": (".vtt", CUE + "{}", "<a"),
    "a time as a tag": (".vtt", CUE + "<{}", "1"),
    "braces": (".srt", "00:00:00,0 --> 00:00:01,0\n{}", "{\\\\"),
    "tags in a brace": (".srt", "00:00:00,0 --> 00:00:01,0\n{{\\{}", "<a"),
    "ampersands": (".vtt", CUE + "{}", "&"),
    "a number of a character": (".vtt", CUE + "&#{}", "9"),
    "digits": (".json", '[{{"start": 0, "end": 1.{}, "text": ""}}]', "9"),
    "brackets": (".json", "{}", "["),
    "a speaker of colons": (".json", '[{{"start":0,"end":1,"text":"","speaker":"{}"}}]', ":"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param("cues", marks=pytest.mark.slow), *(name for name in HOSTILE if name != "cues")],
)
def test_any_transcript_is_read_in_linear_time(name: str) -> None:
    suffix, frame, piece = HOSTILE[name]

    def read(count: int) -> None:
        with contextlib.suppress(TranscriptError):
            parse_transcript(frame.format(piece * count), suffix)

    # Eight times the text, in sixty-four times the time if that grew with its square. The least of
    # two runs on both sides: a shared host may slow one of them.
    short, long = (min(cpu_s(lambda: read(count)) for _ in "12") for count in (10_000, 80_000))  # noqa: B023
    assert long < 24 * short + 0.5


def test_lines_without_times_are_one_segment() -> None:
    transcript = parse_transcript("[00:00 - 00:01] a\n" + "b\n" * 100, ".txt")
    assert len(transcript.segments) == 1
    assert transcript.text == " ".join(["a", *"b" * 100])


# Lines that belong to the formats, in impossible orders and with impossible times.
LINES = st.sampled_from(
    [
        *("WEBVTT", "NOTE", "STYLE", "1", "", "-->", "00:00:01,000 --> 00:00:02,000"),
        *("00:01.0 --> 99:99.9", "٣:٣ --> ٤:٤", "[00:01 - 00:02] so", "[0:0-0:0]", "{", '"a"'),
        *("<b>", "\ufeff", "&#xD800;", "&#1114112;", "\x85", '[{"start": 1e999}]', "[" * 5000),
    ]
)


@given(
    content=st.text() | st.lists(LINES, max_size=12).map("\n".join),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_text_is_a_transcript_or_a_transcript_error(content: str, suffix: str) -> None:
    try:
        transcript = parse_transcript(content, suffix)
    except TranscriptError:
        return
    transcript.text.encode()  # no lone surrogates
    assert transcript.text == " ".join(transcript.text.split())


@given(content=st.binary(max_size=200))
def test_any_bytes(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content)
    try:
        assert read_transcript(path).source == "any.txt"
    except TranscriptError:
        return


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le-bom", "latin-1"]
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    words = "Déjà vu, señor."
    content = (
        b"\xff\xfe" + words.encode("utf-16-le") if "bom" in encoding else words.encode(encoding)
    )
    path = tmp_path / "talk.txt"
    path.write_bytes(content)
    assert read_transcript(path) == Transcript(words, (), "talk.txt")


def test_utf16_without_a_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_bytes("words".encode("utf-16-le"))
    with pytest.raises(TranscriptError, match="UTF-8"):
        read_transcript(path)


def test_the_size_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    path = tmp_path / "talk.txt"
    path.write_text("0123456789")
    assert read_transcript(path).text == "0123456789"
    path.write_text("0123456789a")
    with pytest.raises(TranscriptError, match="more than 10 bytes"):
        read_transcript(path)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for path in (tmp_path / "pipe.txt", tmp_path, tmp_path / "none.txt", Path("/dev/zero")):
        with pytest.raises(TranscriptError, match=r"regular file|cannot be read"):
            read_transcript(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_sidecar_has_the_clips_stem(tmp_path: Path, suffix: str) -> None:
    clip = tmp_path / "-a.003.mp4"
    assert find_transcript(clip) is None
    (tmp_path / f"-a{suffix}").touch()  # another clip's
    (tmp_path / f"-a.003{suffix}").mkdir()  # no file
    assert find_transcript(clip) is None
    (tmp_path / f"-a.003{suffix}").rmdir()
    (tmp_path / f"-a.003{suffix}").touch()
    assert find_transcript(clip) == tmp_path / f"-a.003{suffix}"


def test_plain_text_comes_first(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"clip{suffix}").touch()
    assert find_transcript(tmp_path / "clip.mp4") == tmp_path / "clip.txt"
    assert find_transcript(tmp_path / "clip.txt") == tmp_path / "clip.srt"
    assert find_transcript("x" * 5000 + ".mp4") is None
