"""Check ID3 tags, which FFmpeg unpacks completely: a kilobyte can ask for a megabyte.

They are not needed here. Tags at the start of a file are skipped; FFmpeg cannot skip those inside a
WAV file, so large ones are refused.

Source: ID3 tag version 2.4.0, main structure, sections 3.1 and 6.2; Multimedia Programming
Interface and Data Specifications 1.0 (RIFF); EBU Tech 3306 (RF64).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final, Literal

from mmperson.errors import UnreadableMedia

MOST_TAG_BYTES: Final = 256 * 1024
"""All ID3 tags of a WAV file together; unpacked, they grow by a factor of 1,000 at most."""
MOST_CHUNKS: Final = 20_000
_BYTE_ORDERS: Final[Mapping[bytes, Literal["little", "big"]]] = {
    b"RIFF": "little", b"RF64": "little", b"BW64": "little", b"RIFX": "big",
}  # fmt: skip
_HEADER: Final = 10
_UNKNOWN: Final = 0xFFFFFFFF


def leading_tags(file: BinaryIO) -> int:
    """Return the length of the tags at the start of an open file in bytes."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(_HEADER)
        size = head[6:]
        if len(head) < _HEADER or head[:3] != b"ID3" or max(size) > 0x7F or 0xFF in head[3:5]:
            return end
        length = 0
        for seven_bits in size:
            length = length << 7 | seven_bits
        end += _HEADER + length


def check_riff_tags(file: BinaryIO, begin: int, size: int) -> None:
    """Refuse a WAV file with large tags in it; files of other formats pass.

    Args:
        file: The file, open for reading.
        begin: Where the WAV data begin, after leading tags.
        size: Its size in bytes.

    Raises:
        UnreadableMedia: The tags take more than ``MOST_TAG_BYTES``, or there are too many chunks.
    """
    file.seek(begin)
    head = file.read(12)
    if head[:4] not in _BYTE_ORDERS or head[8:] != b"WAVE":
        return
    order = _BYTE_ORDERS[head[:4]]
    at, tags, audio = begin + 12, 0, 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        chunk = file.read(24)
        if len(chunk) < 8:
            return
        kind, length = chunk[:4], int.from_bytes(chunk[4:8], order)
        if kind == b"ds64":
            audio = int.from_bytes(chunk[16:24], order)
        elif kind == b"data":
            length = audio or length
            if length in (0, _UNKNOWN):  # the audio lasts to the end of the file
                return
        elif kind in (b"ID3 ", b"id3 "):
            tags += length
            if tags > MOST_TAG_BYTES:
                raise UnreadableMedia(
                    f"Its ID3 tags take {tags:,} bytes; a WAV file may have {MOST_TAG_BYTES:,}.",
                    hint="Remove them, for example with ffmpeg -i CLIP -map_metadata -1 NEW.wav.",
                )
        at += 8 + length + length % 2
    raise UnreadableMedia(f"It has more than {MOST_CHUNKS:,} chunks.")
