"""Hold the index of an MP4 or QuickTime file to its size before FFmpeg believes it.

FFmpeg makes room for as many samples as a table declares before it reads them, so that 11 kB of
file can ask for a gigabyte. Here the tables' counts alone are read; no table that is whole is
refused.

Source: ISO/IEC 14496-12, sections 4.2 (boxes) and 8.6 to 8.7 (tables of samples).
"""

from __future__ import annotations

from typing import BinaryIO, Final

from mmperson.errors import UnreadableMedia

MOST_BOXES: Final = 20_000

_BRANDS: Final = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid"}
_PARENTS: Final = {
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"tref", b"dinf", b"gmhd"),
    *(b"wave", b"sinf", b"schi", b"mvex", b"moof", b"traf"),
}
# Bytes before the count, and bits per entry.
_TABLES: Final = {
    b"stsz": (8, 32), b"stz2": (8, 4), b"stts": (4, 64), b"ctts": (4, 64), b"stsc": (4, 96),
    b"stco": (4, 32), b"co64": (4, 64), b"stss": (4, 32), b"stps": (4, 32), b"elst": (4, 96),
    b"trun": (4, 0),
}  # fmt: skip
# Where no entry is written, since all are alike: the densest sound has 2 samples per byte.
_SAMPLES_PER_BYTE: Final = 16


def check_index(file: BinaryIO, size: int) -> None:
    """Refuse a file whose index declares more than it holds; other kinds of files pass.

    Args:
        file: The file, open for reading.
        size: Its size in bytes.

    Raises:
        UnreadableMedia: A table declares more entries than it has bytes for, an index is
            compressed, or there are too many boxes.
    """
    file.seek(4)
    if file.read(4) not in _BRANDS:
        return
    pending = [(0, size)]
    seen: set[bytes] = set()
    for _ in range(MOST_BOXES):
        while pending and pending[-1][0] + 8 > pending[-1][1]:
            pending.pop()
        if not pending or (len(pending) == 1 and {b"moov", b"mdat"} <= seen):
            return
        start, end = pending.pop()
        kind, body, stop = _box(file, start, end)
        pending.append((stop, end))
        seen.add(kind)
        if kind == b"cmov":
            raise UnreadableMedia(
                "Its index is compressed, which is not accepted.",
                hint="Convert it, for example with ffmpeg -i CLIP -c copy NEW.mp4.",
            )
        if kind in _PARENTS:
            pending.append((body, stop))
        elif kind in _TABLES:
            _check_table(file, kind, body, stop, size)
    raise UnreadableMedia(f"Its index has more than {MOST_BOXES} parts.")


def _box(file: BinaryIO, start: int, end: int) -> tuple[bytes, int, int]:
    """Return kind, first byte of the content and byte behind the end of a box."""
    file.seek(start)
    head = file.read(16)
    length, kind, body = int.from_bytes(head[:4], "big"), head[4:8], start + 8
    if length == 1:
        length, body = int.from_bytes(head[8:16], "big"), start + 16
    stop = end if length == 0 else min(start + length, end)
    return kind, body, max(stop, body)


def _check_table(file: BinaryIO, kind: bytes, body: int, stop: int, size: int) -> None:
    """Hold a table's count to its bytes, or to those of the file if its entries are not written."""
    before, bits = _TABLES[kind]
    file.seek(body)
    head = file.read(before + 4)
    if kind == b"stsz" and any(head[4:8]):  # one size for all
        bits = 0
    elif kind == b"stz2":
        bits = max(head[7:8], default=bits)
    elif kind == b"trun":
        bits = 32 * (int.from_bytes(head[2:3], "big") & 0xF).bit_count()
    count = int.from_bytes(head[before:], "big")
    room = max(stop - body - len(head), 0) * 8 // bits if bits else _SAMPLES_PER_BYTE * size
    if count > room:
        raise UnreadableMedia(
            f"Its index is damaged: the table {kind.decode()!r} declares {count:,} entries and "
            f"has room for {room:,}.",
            hint="Download or copy the clip again.",
        )
