"""An upper bound of the memory of FFmpeg's index of an MP4 or QuickTime file.

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

# Bytes that FFmpeg keeps: per sample its position and time, and its length and shift; per track of
# a fragment, or of a reference to one.
SAMPLE, SHIFT, FRAGMENT = 24, 12, 64

# Audio formats with an entry per 1,024 samples, or per 160 or more if they are compressed.
_PCM: Final = {
    *(b"raw ", b"NONE", b"twos", b"sowt", b"in24", b"in32", b"fl32", b"fl64", b"lpcm", b"ipcm"),
    *(b"fpcm", b"ulaw", b"alaw"),
}
_COMPRESSED: Final = {
    *(b"ima4", b"MAC3", b"MAC6", b"agsm", b"QDM2", b"QDMC", b"Qclp", b".mp3"),
    *(b"ms\0\x02", b"ms\0\x11", b"ms\0\x55"),
}
_NOT_AUDIO: Final = {b"vide", b"subp", b"clcp", b"m1a "}


@dataclass
class Track:
    """Facts that the tables of a track declare.

    Attributes:
        handlers: Its handler types, for example ``b"soun"``.
        samples: Number of samples.
        steps: Number of entries and first duration in ticks of each ``stts`` table.
        formats: Name and samples per frame of each sample description.
        is_shifted: Whether there is a ``ctts`` table.
        chunks: Number of chunks.
        runs: Each ``stsc`` table as int64 (run, 2): first chunk, samples per chunk.
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
        """Return an upper bound of FFmpeg's index of this track, in bytes."""
        # Audio whose samples last a tick each has entries per chunk.
        by_chunk = any(count == 1 and (last == 1 or last >> 31) for count, last in self.steps)
        is_by_chunk_only = (
            by_chunk
            and set(self.steps) == {(1, 1)}
            and b"soun" in self.handlers
            and not self.handlers & _NOT_AUDIO
            and len(self.formats) == 1
            and self.formats[0][0] in _PCM | _COMPRESSED
            and not self.is_shifted
        )
        single = 0 if is_by_chunk_only else self.samples * (SAMPLE + SHIFT)
        chunked = sum(map(self._pieces, self.runs)) * SAMPLE if by_chunk else 0
        return (single + chunked) * (1 + self.edits)  # every edit may repeat the whole track

    def _pieces(self, runs: npt.NDArray[np.int64]) -> int:
        """Return the number of pieces into which FFmpeg splits the chunks."""
        is_plain = all(name in _PCM and in_frame <= 1 for name, in_frame in self.formats)
        pieces = -(-runs[:, 1] // (1024 if is_plain and self.formats else 160))
        lengths = np.diff(runs[:, 0], append=self.chunks + 1)
        if len(self.runs) > 1 or runs[0, 0] != 1 or (lengths < 1).any() or (pieces < 1).any():
            return self.chunks * max(int(pieces.max()), 1)  # FFmpeg repairs such tables
        return int(np.dot(pieces.astype(float), lengths.astype(float)))
