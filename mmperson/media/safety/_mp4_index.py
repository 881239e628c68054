"""Check the index of an MP4 or QuickTime file before FFmpeg reads it.

FFmpeg allocates memory for the entries that a table declares before it checks that they exist: a
file of 2 kB can ask for gigabytes. So every box that FFmpeg would read is visited first, and only
counts are read. No table may declare more entries than it has, and the memory that FFmpeg needs for
all tables is bounded. FFmpeg also reads boxes at unusual places; a file that has some there is
refused. Complete files of ordinary length pass.

Source: ISO/IEC 14496-12, sections 4.2 (boxes) and 8 (tables of samples); where FFmpeg looks for
boxes: ``mov_read_default`` of its mov.c, 7 to 8.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import MediaTooLarge, UnreadableMedia
from mmperson.media.safety._index_memory import FRAGMENT, MOST_MEMORY, Track

MOST_BOXES: Final = 20_000
MOST_FRAGMENT_BOXES: Final = 400_000  # six hours of fragments of one second with 18 boxes each

_FIRST: Final = {
    *(b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid"),
    *(b"udta", b"junk", b"pict", b"prfl", b"ediw", b"moof", b"sidx"),
}
_PARENTS: Final = {
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"tref", b"dinf", b"gmhd"),
    *(b"wave", b"sinf", b"schi", b"mvex", b"moof", b"traf", b"ilst"),
}
# Bytes before the count, bits per entry, and bytes that FFmpeg keeps per entry.
_TABLES: Final = {
    b"stsz": (8, 32, 8), b"stz2": (8, 4, 8), b"stts": (4, 64, 16), b"ctts": (4, 64, 16),
    b"stsc": (4, 96, 28), b"stco": (4, 32, 8), b"co64": (4, 64, 8), b"stss": (4, 32, 4),
    b"stps": (4, 32, 4), b"elst": (4, 96, 24), b"trun": (4, 0, 36), b"sbgp": (8, 64, 8),
    b"sgpd": (8, 8, 1), b"keys": (4, 64, 64), b"dref": (4, 96, 128),
}  # fmt: skip
_REFUSED: Final = {
    b"cmov": "Its index is compressed",
    b"senc": "It is encrypted",
    **dict.fromkeys((b"iloc", b"iinf", b"iprp"), "It contains still pictures"),
}
# FFmpeg reads boxes in sample descriptions, after fields that vary: these must not occur there.
_NOT_DESCRIBED: Final = re.compile(
    b"|".join([*(_TABLES.keys() - {b"keys"}), *_REFUSED, b"hdlr", b"moov", b"moof", b"sidx"])
)
_MOST_DESCRIBED: Final = 1 << 20
# For tables without entries, since all are equal: the densest audio has 2 samples per byte.
_SAMPLES_PER_BYTE: Final = 16


class _Index:
    """Walks through one file's boxes and collects what they declare."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.tracks = [Track()]
        self.fragments = self.memory = 0
        self.remaining = {False: MOST_BOXES, True: MOST_FRAGMENT_BOXES}
        self.starts: set[int] = set()
        self.references: set[int] = set()
        self.is_referenced = False

    def walk(self) -> None:
        """Visit every box as FFmpeg does."""
        pending = [(0, self.size, False)]
        while pending:
            start, end, in_fragment = pending.pop()
            box = self._box(start, end)
            if box is None:
                continue
            kind, body, stop = box
            is_top = not pending
            if is_top:
                self.starts.add(start)
            pending.append((stop, end, in_fragment))
            in_fragment = in_fragment or kind == b"moof"
            self._count(in_fragment or (is_top and kind != b"moov"), 1)
            if is_top and kind == b"trak":  # FFmpeg would read it a second time
                raise UnreadableMedia("Its index is damaged: there is a track outside of it.")
            if kind in (b"free", b"hoov") and self._read(body + 4, stop, 4) in (b"mvhd", b"cmov"):
                kind = b"moov"
            self._visit(kind, body, stop)
            if kind == b"meta":
                body = self._meta(body, stop)
            if kind in _PARENTS or kind == b"meta":
                pending.append((body, stop, in_fragment))

    def check(self) -> None:
        """Check references to fragments, and the memory of all tables."""
        if self.is_referenced and any(
            each < self.size and each not in self.starts for each in self.references
        ):
            raise UnreadableMedia("Its index is damaged: it refers to fragments that do not exist.")
        memory = self.memory + sum(track.memory() for track in self.tracks)
        memory += self.fragments * len(self.tracks) * FRAGMENT
        if memory > MOST_MEMORY:
            raise MediaTooLarge(
                f"Its index needs up to {memory / 1e6:,.0f} MB of memory; at most "
                f"{MOST_MEMORY / 1e6:,.0f} MB are allowed.",
                hint="Use a shorter clip, or convert it, for example with ffmpeg -i CLIP NEW.mp4.",
            )

    def _count(self, in_fragments: bool, parts: int) -> None:
        """Count parts of the index; fragments may have more."""
        self.remaining[in_fragments] -= parts
        if self.remaining[in_fragments] < 0:
            most = MOST_FRAGMENT_BOXES if in_fragments else MOST_BOXES
            raise UnreadableMedia(f"Its index has more than {most} parts.")

    def _box(self, start: int, end: int) -> tuple[bytes, int, int] | None:
        """Return type, start of the content and end of a box; None if there is none."""
        head = self._read(start, end, 16)
        length, kind, body = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if length == 1 and len(head) == 16:
            length, body = int.from_bytes(head[8:], "big", signed=True), start + 16
            length = 0 if length == 8 else length  # as in FFmpeg: to the end
        stop = start + length if length else end
        return (kind, body, min(stop, end)) if len(head) >= 8 and stop >= body else None

    def _read(self, start: int, stop: int, most: int) -> bytes:
        """Read bytes of the file, not beyond ``stop``."""
        self.file.seek(start)
        return self.file.read(max(0, min(most, stop - start)))

    def _visit(self, kind: bytes, body: int, stop: int) -> None:
        if kind in _REFUSED:
            raise UnreadableMedia(
                f"{_REFUSED[kind]}, which is not accepted.",
                hint="Convert it to an ordinary MP4 file.",
            )
        if kind in _TABLES:
            self._table(kind, body, stop)
        elif kind == b"trak":
            self.tracks.append(Track())
        elif kind == b"moof":
            self.fragments += 1
        elif kind == b"hdlr":
            self.tracks[-1].handlers.add(self._read(body + 8, stop, 4))
        elif kind == b"stsd":
            self._description(body, stop)
        elif kind == b"sidx":
            self._references(body, stop)

    def _meta(self, body: int, stop: int) -> int:
        """Return the start of the boxes in a meta box: FFmpeg searches for the first type."""
        content = self._read(body, stop, _MOST_DESCRIBED)
        names = (at for at in range(4, len(content) - 7, 4) if content[at : at + 4] == b"hdlr")
        first = next(names, None) if content[:4] != b"hdlr" else 0
        if first is None and stop - body > len(content):
            raise UnreadableMedia("Its index is damaged: metadata without a handler.")
        return stop if first is None else body + first - 4

    def _description(self, body: int, stop: int) -> None:
        """Record the formats of the samples."""
        content = self._read(body, stop, _MOST_DESCRIBED)
        if stop - body > len(content) or _NOT_DESCRIBED.search(content, 16):
            raise UnreadableMedia("Its index is damaged: a sample description contains tables.")
        name, version = content[12:16], content[24:26]
        at = {b"\0\1": 44, b"\0\2": 76}.get(version)
        in_frame = int.from_bytes(content[at : at + 4], "big") if at else 0
        formats = self.tracks[-1].formats
        formats += [(name, in_frame)] * min(int.from_bytes(content[4:8], "big"), 2)

    def _references(self, body: int, stop: int) -> None:
        """Record the fragments of a segment index; FFmpeg seeks there if they end with the file."""
        head = self._read(body, stop, 32)
        width, at = (4, 20) if head[:1] == b"\0" else (8, 28)
        place = stop + int.from_bytes(head[at - width : at], "big", signed=width == 8)
        count = int.from_bytes(self._read(body + at + 2, stop, 2), "big")
        _check_room(b"sidx", count, max(stop - body - at - 4, 0) // 12)
        sizes = np.frombuffer(self._read(body + at + 4, stop, 12 * count), ">u4")[::3]
        *places, last = accumulate((sizes & 0x7FFFFFFF).tolist(), initial=place)
        self._count(True, len(places))
        self.fragments += len(places)
        self.references.update(places)
        footer = int.from_bytes(self._read(self.size - 4, self.size, 4), "big")
        self.is_referenced |= last in (self.size, self.size - footer)

    def _table(self, kind: bytes, body: int, stop: int) -> None:
        """Check a table's count against its size, or the file's size if it has no entries."""
        before, bits, kept = _TABLES[kind]
        head = self._read(body, stop, 24)
        if kind == b"stsz" and any(head[4:8]):  # one size for all
            bits = 0
        elif kind == b"stz2":
            bits = max(head[7:8], default=bits)
        elif kind == b"trun":
            bits = 32 * (int.from_bytes(head[2:3], "big") & 0xF).bit_count()
        elif kind == b"sgpd":
            before += 4 * min(head[0] if head else 0, 2)
        elif kind == b"sbgp" and head[:1] == b"\1":
            before += 4
        elif kind == b"elst" and head[:1] == b"\1":
            bits = 160
        if kind in (b"sbgp", b"sgpd") and head[4:8] not in (b"sync", b"rap "):
            return  # FFmpeg reads no other groups
        count, first = int.from_bytes(head[before : before + 4], "big"), body + before + 4
        room = max(stop - first, 0) * 8 // bits if bits else _SAMPLES_PER_BYTE * self.size
        _check_room(kind, count, room)
        if bits or kind == b"trun":
            self.memory += count * kept
        track = self.tracks[-1]
        if kind in (b"stsz", b"stz2"):
            track.samples += count
        elif kind in (b"stco", b"co64"):
            track.chunks += count
        elif kind == b"elst":
            track.edits += max(stop - first, 0) * 8 // bits  # FFmpeg ignores the count
        elif kind == b"stts" and count:
            track.steps.append((count, int.from_bytes(head[12:16], "big")))
        elif kind in (b"ctts", b"sbgp") and count:
            # FFmpeg allocates memory for the sum of the entries.
            track.is_shifted = track.is_shifted or kind == b"ctts"
            self.memory += 4 * int(self._numbers(first, stop, count, 2)[:, 0].sum(dtype=np.int64))
        elif kind == b"stsc" and count:
            track.runs.append(self._numbers(first, stop, count, 3)[:, :2].astype(np.int64))

    def _numbers(self, first: int, stop: int, count: int, columns: int) -> npt.NDArray[np.uint32]:
        """Return the entries of a table, (count, columns), unless there are too many already."""
        if self.memory > MOST_MEMORY:
            self.check()
        content = self._read(first, stop, 4 * columns * count)
        return np.frombuffer(content, ">u4").reshape(-1, columns)


def _check_room(kind: bytes, count: int, room: int) -> None:
    """Refuse a table that is too small for its entries."""
    if count > room:
        raise UnreadableMedia(
            f"Its index is damaged: the table {kind.decode()!r} declares {count:,} entries and "
            f"has room for {room:,}.",
            hint="Download or copy the clip again.",
        )


def check_index(file: BinaryIO, size: int) -> bool:
    """Refuse a file whose index is malformed or too large; files of other formats pass.

    Args:
        file: The file, open for reading.
        size: Its size in bytes.

    Returns:
        Whether it is MP4 or QuickTime. If not, FFmpeg must not read it as such.

    Raises:
        UnreadableMedia: A table declares more entries than it has, boxes are misplaced or too many,
            or the index is compressed or encrypted.
        MediaTooLarge: FFmpeg would need more than ``MOST_MEMORY`` for the index.
    """
    file.seek(4)
    if file.read(4) not in _FIRST:
        return False
    index = _Index(file, size)
    index.walk()
    index.check()
    return True
