"""The index of an MP4 file is held to its size before FFmpeg reads it."""

import io

import pytest

from mmperson.errors import MediaTooLarge, UnreadableMedia
from mmperson.media import AudioWindow, read_clip
from mmperson.media.safety._mp4_index import MOST_BOXES, MOST_FRAGMENT_BOXES, check_index
from tests.fixtures.index_bombs import STBL, Tree, box, number, whole
from tests.fixtures.media import write_clip

FRAGMENTED = {"movflags": "empty_moov+default_base_moof+frag_every_frame"}


def check(content):
    return check_index(io.BytesIO(content), len(content))


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


@pytest.mark.parametrize(
    ("content", "most"),
    [
        (box(b"moov", box(b"free") * (MOST_BOXES + 1)), MOST_BOXES),
        (box(b"free") * (MOST_FRAGMENT_BOXES + 1), MOST_FRAGMENT_BOXES),
    ],
)
def test_boxes_without_end_are_refused(content, most):
    with pytest.raises(UnreadableMedia, match=f"more than {most} parts"):
        check(content)


def test_lengths_that_lie_end_at_their_parent():
    check(index(number(1 << 30) + b"stsz"))
    check(box(b"ftyp", b"isom") + number(0) + b"moov" + number(3) + b"trak")
    check(number(1) + b"mdat" + number(2, 8) + b"moov")

    check(number(1) + b"moov" + number(8, 8) + box(b"trak"))


@pytest.mark.parametrize("content", [b"", b"RIFF" + bytes(40), box(b"abcd") + box(b"moov")])
def test_other_formats_pass_unread_and_are_not_read_as_mp4(content):
    assert check(content) is False


def test_mp4_behind_a_box_that_nobody_knows_is_not_read(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", duration_s=0.5)
    read_clip(path, frames=1)
    content = path.read_bytes()
    for kind in (b"junk", b"udta", b"skip"):
        path.write_bytes(box(kind) + content)
        assert check(path.read_bytes()) is True
    path.write_bytes(box(b"abcd") + content)
    with pytest.raises(UnreadableMedia, match="cannot be read"):
        read_clip(path, frames=1)


MUXED = ["faststart", "frag_keyframe+empty_moov", "dash+frag_every_frame", "separate_moof"]


@pytest.mark.parametrize("flags", MUXED)
@pytest.mark.parametrize("audio", ["aac", "pcm_s16le", "pcm_mulaw", "adpcm_ima_qt"])
def test_sound_of_every_kind_passes(tmp_path, flags, audio):
    path = tmp_path / ("clip.mp4" if audio == "aac" else "clip.mov")
    write_clip(path, duration_s=1.0, audio_codec=audio, options={"movflags": flags})
    assert check(path.read_bytes()) is True
    assert read_clip(path, frames=2, audio=AudioWindow(16_000)).waveform is not None


def recording(hours, *, tracks=1, together=1024, size=4):
    """The index of hours of PCM at 48 kHz, in chunks."""
    tree, samples = whole("pcm_s16le"), hours * 3600 * 48_000
    stbl, count = tree.find(STBL), samples // together
    stbl.put(b"stsz", number(0) + number(size) + number(samples))
    stbl.put(b"stts", number(0) + number(1) + number(samples) + number(1))
    runs = number(1) + number(together) + number(1) + number(count) + number(9) + number(1)
    stbl.put(b"stsc", number(0) + number(2) + runs)
    stbl.put(b"stco", number(0) + number(count) + bytes(4 * count))
    trak = next(each for each in tree.find("moov") if isinstance(each, Tree))
    tree.find("moov").extend([trak] * (tracks - 1))
    return tree.write()


@pytest.mark.parametrize(("tracks", "together"), [(4, 1024), (4, 48_000)])
def test_six_hours_of_plain_sound_pass(tracks, together):
    content = recording(6, tracks=tracks, together=together)
    size = 6 * 3600 * 48_000 * 4 * tracks
    assert check_index(io.BytesIO(content), size) is True


@pytest.mark.slow
def test_six_hours_of_frames_pass_and_a_week_does_not():
    def frames(count):
        tree = whole()
        stbl = tree.find(STBL)
        stbl.put(b"stsz", number(0) + number(0) + number(count) + bytes(4 * count))
        stbl.put(b"stts", number(0) + number(1) + number(count) + number(512))
        stbl.put(b"ctts", number(0) + number(count) + (number(1) + number(512)) * count)
        return tree.write()

    assert check(frames(6 * 3600 * 60)) is True
    with pytest.raises(MediaTooLarge, match=r"[\d,]+ MB.* 450 MB"):
        check(frames(168 * 3600 * 15))


def test_six_hours_of_fragments_pass():
    traf = box(b"traf", box(b"tfhd"), box(b"tfdt"), box(b"trun", number(0), number(60)))
    moof = box(b"styp") + box(b"moof", box(b"mfhd"), traf, traf) + box(b"mdat", bytes(8))
    assert check(box(b"ftyp", b"isom") + box(b"moov", box(b"trak")) + moof * 21_600) is True


def test_a_list_of_fragments_names_boxes():
    def listed(size):
        head = number(0) + number(1) + number(1000) + number(0) + number(0) + number(2)
        names = (number(size) + bytes(8)) + (number(32 - size) + bytes(8))
        return box(b"ftyp", b"isom") + box(b"sidx", head, names) + box(b"moof", bytes(8)) * 2

    check(listed(16))
    with pytest.raises(UnreadableMedia, match="fragments"):
        check(listed(12))


@pytest.mark.parametrize("first", [-(1 << 63), -1, (1 << 63) - 1])
def test_a_list_of_fragments_may_begin_anywhere(first):
    head = number(1 << 24) + number(1) + number(1000) + bytes(8)
    head += first.to_bytes(8, "big", signed=True) + number(1)
    check(box(b"ftyp", b"isom") + box(b"sidx", head, number(9) + bytes(8)))


@pytest.mark.parametrize(("kind", "why"), [(b"senc", "encrypted"), (b"iloc", "still pictures")])
def test_what_no_clip_has_is_refused(kind, why):
    with pytest.raises(UnreadableMedia, match=why):
        check(index(box(kind, bytes(16))))


def test_a_track_outside_of_the_index_is_refused():
    with pytest.raises(UnreadableMedia, match="track outside"):
        check(box(b"ftyp", b"isom") + box(b"trak"))
