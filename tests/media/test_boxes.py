"""The index of an MP4 file is held to its size before FFmpeg reads it."""

import io

import pytest

from mmperson.errors import UnreadableMedia
from mmperson.media import read_clip
from mmperson.media.boxes import MOST_BOXES, check_index
from tests.fixtures.media import write_clip

FRAGMENTED = {"movflags": "empty_moov+default_base_moof+frag_every_frame"}


def box(kind, *content):
    body = b"".join(content)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def number(value, size=4):
    return value.to_bytes(size, "big")


def check(content):
    check_index(io.BytesIO(content), len(content))


def index(*tables):
    """A file with nothing but an index."""
    return box(b"ftyp", b"isom") + box(b"moov", box(b"trak", box(b"mdia", *tables)))


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, FRAGMENTED])
def test_the_tables_of_whole_files_pass(tmp_path, options):
    path = write_clip(tmp_path / "clip.mp4", duration_s=1.0, options=options)
    check(path.read_bytes())
    assert read_clip(path, frames=2).frames is not None


@pytest.mark.parametrize("table", [b"stsz", b"stts", b"stsc", b"stco"])
def test_a_count_beyond_the_bytes_of_its_table_is_refused(tmp_path, table):
    path = write_clip(tmp_path / "clip.mp4", duration_s=0.5)
    content = bytearray(path.read_bytes())
    at = content.index(table) + (12 if table == b"stsz" else 8)
    content[at : at + 4] = number(1 << 26)
    path.write_bytes(content)
    with pytest.raises(UnreadableMedia, match=f"'{table.decode()}' declares 67,108,864 entries"):
        read_clip(path, frames=2)


def test_samples_of_one_size_and_fragments_are_held_to_the_file():
    for make in (
        lambda count: box(b"stsz", number(0), number(1), number(count)),
        lambda count: box(b"trun", number(0), number(count)),
        lambda count: box(b"stz2", number(0), number(4), number(count), bytes(8)),
    ):
        check(index(make(16)))
        with pytest.raises(UnreadableMedia, match="declares 1,000,000 entries"):
            check(index(make(1_000_000)))


def test_fields_of_a_fragment_count():
    check(index(box(b"trun", number(0x300), number(2), bytes(16))))
    with pytest.raises(UnreadableMedia, match="has room for 1"):
        check(index(box(b"trun", number(0x300), number(2), bytes(15))))


def test_a_compressed_index_is_refused():
    with pytest.raises(UnreadableMedia, match="compressed"):
        check(box(b"ftyp", b"qt  ") + box(b"moov", box(b"cmov", bytes(40))))


def test_boxes_without_end_are_refused():
    with pytest.raises(UnreadableMedia, match=f"more than {MOST_BOXES} parts"):
        check(box(b"free") * (MOST_BOXES + 1))


def test_lengths_that_lie_end_at_their_parent():
    check(index(number(1 << 30) + b"stsz"))
    check(box(b"ftyp", b"isom") + number(0) + b"moov" + number(3) + b"trak")
    check(number(1) + b"mdat" + number(2, 8) + b"moov")


def test_other_formats_pass_unread():
    check(b"")
    check(b"RIFF" + bytes(40))
