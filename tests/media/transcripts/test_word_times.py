import time

from hypothesis import given
from hypothesis import strategies as st

from mmperson.media import Segment, Transcript
from mmperson.media.transcripts.transcript import parse_transcript
from mmperson.media.transcripts.word_times import WordTimes


def searched(segments, start_s, end_s):
    """Yield what ``WordTimes`` looks up, by a search of every word."""
    for index, segment in enumerate(segments):
        words = segment.text.split()
        pace_s = (segment.end_s - segment.start_s) / max(len(words), 1)
        said_s = [segment.start_s + (place + 0.5) * pace_s for place in range(len(words))]
        kept = [word for word, at in zip(words, said_s, strict=True) if start_s <= at < end_s]
        if kept:
            yield index, " ".join(kept)


TIMES = st.sampled_from([0.0, 0.1, 0.3, 1 / 3, 1.0, 2.0, 7.7, 1e8]) | st.floats(0, 1e9)


@st.composite
def segments(draw):
    start_s, end_s = sorted((draw(TIMES), draw(TIMES)))
    return Segment(start_s, end_s, draw(st.text("ab \n", max_size=12)))


@given(parts=st.lists(segments(), max_size=6), start_s=TIMES, end_s=TIMES)
def test_what_is_looked_up_is_what_a_search_finds(parts, start_s, end_s):
    assert list(WordTimes(parts).within(start_s, end_s)) == list(searched(parts, start_s, end_s))


def test_segments_need_not_be_in_order():
    parts = (Segment(2, 4, "c d", "Bob"), Segment(0, 4, "a b", "Ann"), Segment(1, 1, "x"))
    within = Transcript("", parts).within(1, 3)
    assert within.segments == (Segment(2, 3, "c", "Bob"), Segment(1, 3, "a", "Ann"), parts[2])
    assert (within.text, within.turns) == ("c a x", "Bob: c\nAnn: a\nx")


def test_a_window_is_looked_up():
    # Hours for a recording of hours, if each window went over all of it.
    for transcript in (
        parse_transcript("[00:00 - 09:59:59] " + "a " * 500_000, ".txt"),
        parse_transcript("[0:0 - 9:59:59] long\n" + "[00:05 - 05:00:00]a\n" * 100_000, ".txt"),
    ):
        transcript.within(0, 1)
        begun = time.process_time()
        for start_s in range(1000):
            transcript.within(start_s, start_s + 1)
        assert time.process_time() - begun < 2.0
