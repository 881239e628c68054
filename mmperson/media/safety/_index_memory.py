"""How much memory FFmpeg's index of an MP4 or QuickTime file takes at most, by what it declares.

Source: ``mov_build_index``, ``mov_fix_index`` and ``mov_merge_tts_data`` of FFmpeg's mov.c, 7 to 8;
measured with ``tests/fixtures/index_bombs.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

MOST_MEMORY: Final = 450_000_000
"""Bytes: enough for six hours of 60 frames per second and four tracks of sound."""

# Of a sample FFmpeg keeps its place and time, and its length and shift; of a fragment, or a
# reference to one, something for each track.
SAMPLE, SHIFT, FRAGMENT = 24, 12, 64

# Sound of which it keeps an entry for 1,024 samples, and for at least 160 if they are compressed.
_PCM: Final = {
    *(b"raw ", b"NONE", b"twos", b"sowt", b"in24", b"in32", b"fl32", b"fl64", b"lpcm", b"ipcm"),
    *(b"fpcm", b"ulaw", b"alaw"),
}
_OLD_SOUND: Final = {
    *(b"ima4", b"MAC3", b"MAC6", b"agsm", b"QDM2", b"QDMC", b"Qclp", b".mp3"),
    *(b"ms\0\x02", b"ms\0\x11", b"ms\0\x55"),
}
_NO_SOUND: Final = {b"vide", b"subp", b"clcp", b"m1a "}


@dataclass
class Track:
    """What the tables of a track declare.

    Attributes:
        handlers: The kinds that it declares, for example ``b"soun"``.
        samples: Number of samples.
        steps: Of each table of times, the number of entries and the first duration in ticks.
        formats: Of each description of samples, its name and how many samples are one frame.
        is_shifted: Whether there is a table of shifts.
        chunks: Number of chunks.
        runs: Of each table of samples by chunk, int64 (run, 2): first chunk and samples in each.
        edits: Number of edits.
    """

    handlers: set[bytes] = field(default_factory=set)
    samples: int = 0
    steps: list[tuple[int, int]] = field(default_factory=list)
    formats: list[tuple[bytes, int]] = field(default_factory=list)
    is_shifted: bool = False
    chunks: int = 0
    runs: list[npt.NDArray[np.int64]] = field(default_factory=list)
    edits: int = 0

    def memory(self) -> int:
        """Return how many bytes FFmpeg's index of this track has at most."""
        # Sound whose samples last a tick each has entries by chunk.
        by_chunk = any(count == 1 and (last == 1 or last >> 31) for count, last in self.steps)
        surely = (
            by_chunk
            and set(self.steps) == {(1, 1)}
            and b"soun" in self.handlers
            and not self.handlers & _NO_SOUND
            and len(self.formats) == 1
            and self.formats[0][0] in _PCM | _OLD_SOUND
            and not self.is_shifted
        )
        single = 0 if surely else self.samples * (SAMPLE + SHIFT)
        chunked = sum(map(self._pieces, self.runs)) * SAMPLE if by_chunk else 0
        return (single + chunked) * (1 + self.edits)  # every edit may show all of it again

    def _pieces(self, runs: npt.NDArray[np.int64]) -> int:
        """Return into how many pieces FFmpeg cuts the chunks."""
        is_plain = all(name in _PCM and in_frame <= 1 for name, in_frame in self.formats)
        pieces = -(-runs[:, 1] // (1024 if is_plain and self.formats else 160))
        lengths = np.diff(runs[:, 0], append=self.chunks + 1)
        if len(self.runs) > 1 or runs[0, 0] != 1 or (lengths < 1).any() or (pieces < 1).any():
            return self.chunks * max(int(pieces.max()), 1)  # it mends what is wrong
        return int(np.dot(pieces.astype(float), lengths.astype(float)))
