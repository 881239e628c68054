"""Ways to damage a file; what is done depends on the random generator alone."""

from __future__ import annotations

import random
import re

_MARKS = re.compile(
    rb"moov|mvhd|trak|tkhd|mdia|mdhd|hdlr|stbl|stsd|stts|stsc|stsz|stco|ctts|elst|avcC|esds|moof"
    rb"|traf|trun|tfdt|mdat|RIFF|LIST|avih|strh|strf|movi|idx1|fmt |data|PAR1|OggS|fLaC|FLV"
    rb"|\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|\xae|\xe0|\xe1|\xa3"
)
_NAMES = (
    *(b"moov", b"hoov", b"free", b"skip", b"junk", b"udta", b"abcd", b"meta", b"ilst", b"uuid"),
    *(b"wide", b"mdat", b"trak", b"moof", b"traf", b"trun", b"stsd", b"stsz", b"stz2", b"stts"),
    *(b"ctts", b"stsc", b"stco", b"co64", b"stss", b"stps", b"elst", b"sbgp", b"sgpd", b"keys"),
    *(b"sidx", b"senc", b"iloc", b"iprp", b"cmov", b"ftyp", b"styp"),
)
_SIZES = (
    0,
    1,
    7,
    8,
    16,
    0x7F,
    0xFF,
    0xFFFF,
    0x04000001,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
_NUMBERS = (
    *("0", "-1", "00", "99", "4294967296", "1e999", "NaN", "-0.0", "9" * 30, "9" * 5000),
    *("0x" + "f" * 5000, "1" + ":1" * 400 + ".0", "1.5", "true", "null", '"1"', "[]", "{}"),
)
_TOKENS = (
    *("-->", "WEBVTT", "NOTE", "\n\n", "\r", "\x85", "\u2028", "\0", "\x1b[31m", "\ufeff", "<b>"),
    *("&#" + "9" * 5000 + ";", "&#xD800;", "{\\", "[00:01 - 00:02]", "[" * 3000, '{"a":' * 3000),
    *("\\ud800", "NaN", "!!int x", "!!python/name:os.system", "*a", "&a", "? ", "<<: ", "- ", ": "),
    *("'", '"', "2001-99-99", "null", "../", "/etc/hostname", "٣", "x" * 5000),
)


def mutate(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return a file with one to three kinds of damage.

    Args:
        content: A whole file.
        other: A file of the same kind, of which a piece may be taken.
        chance: What decides.
    """
    is_text = b"\0" not in content[:4096]
    ways = [*_BINARY, *(_TEXTUAL * 2 if is_text else [_resize, _resize, *_BOXES])]
    for way in chance.choices(ways, k=chance.randint(1, 3)):
        content = way(content, other, chance)
    return content


def _span(content: bytes, chance: random.Random, longest: int = 4096) -> tuple[int, int]:
    """Return where a range begins and ends; short ones are likelier."""
    begin = chance.randrange(len(content) + 1)
    length = int(2 ** chance.uniform(0, longest.bit_length() - 1))
    return begin, min(begin + length, len(content))


def _flip(content: bytes, other: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 16) if content else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, other: bytes, chance: random.Random) -> bytes:
    begin, end = _span(content, chance, 256)
    fill = chance.choice((b"\0", b"\xff", None))
    run = chance.randbytes(end - begin) if fill is None else fill * (end - begin)
    return content[:begin] + run + content[end:]


def _truncate(content: bytes, other: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _drop(content: bytes, other: bytes, chance: random.Random) -> bytes:
    begin, end = _span(content, chance)
    return content[:begin] + content[end:]


def _double(content: bytes, other: bytes, chance: random.Random) -> bytes:
    begin, end = _span(content, chance)
    times = chance.choice((1, 1, 1, 30))
    return content[:end] + times * content[begin:end] + content[end:]


def _splice(content: bytes, other: bytes, chance: random.Random) -> bytes:
    begin, end = _span(other, chance)
    at, until = _span(content, chance)
    return chance.choice(
        (
            content[:at] + other[begin:end] + content[until:],
            content[:at] + other[begin:],
            content + other,
        )
    )


def _resize(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Let a size before or behind the name of a box lie."""
    marks = list(_MARKS.finditer(content))
    if not marks:
        return _overwrite(content, other, chance)
    mark = chance.choice(marks)
    order = chance.choice(("big", "little"))
    at = max(0, chance.choice((mark.start() - 4, mark.end(), mark.end() + 4 * chance.randrange(6))))
    size = chance.choice(_SIZES).to_bytes(4, order)[: chance.choice((1, 4, 4))]
    return content[:at] + size + content[at + len(size) :]


def _rename(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Give a box another name."""
    marks = [mark for mark in _MARKS.finditer(content) if len(mark[0]) == 4]
    if not marks:
        return _overwrite(content, other, chance)
    mark = chance.choice(marks)
    return content[: mark.start()] + chance.choice(_NAMES) + content[mark.end() :]


def _put_in_front(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Put a small box in front of everything, or of some box."""
    marks = [0, *(mark.start() - 4 for mark in _MARKS.finditer(content) if mark.start() >= 4)]
    at, body = chance.choice((0, chance.choice(marks))), chance.randbytes(chance.choice((0, 0, 8)))
    return content[:at] + _box(chance.choice(_NAMES), body) + content[at:]


def _put_behind(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Put a fragment behind everything: one of the other file, or one that declares much."""
    at = other.find(b"moof") - 4
    if at >= 0 and chance.random() < 0.5:
        return content + other[at:]
    count = chance.choice(_SIZES).to_bytes(4, "big")
    head = _box(b"tfhd", b"\0\2\0\0" + bytes((0, 0, 0, chance.randint(1, 2))))
    traf = _box(b"traf", head + _box(b"trun", bytes((0, 0, chance.choice((0, 3)), 0)) + count))
    return content + _box(b"moof", _box(b"mfhd", bytes(8)) + traf) + _box(b"mdat", bytes(8))


def _box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def _number(content: bytes, other: bytes, chance: random.Random) -> bytes:
    numbers = list(re.finditer(rb"[0-9.]+", content))
    if not numbers:
        return content
    found = chance.choice(numbers)
    extreme = chance.choice(_NUMBERS).encode()
    return content[: found.start()] + extreme + content[found.end() :]


def _token(content: bytes, other: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(_TOKENS).encode() + content[at:]


_BINARY = [_flip, _overwrite, _truncate, _drop, _double, _splice]
_BOXES = [_rename, _put_in_front, _put_behind]
_TEXTUAL = [_number, _token]
