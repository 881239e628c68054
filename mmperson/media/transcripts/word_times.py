"""Words of a transcript sorted by time, so that each window finds its own by bisection.

A long recording has thousands of windows, and a transcript may have millions of words in unordered
segments: a linear search per window would take hours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmperson.media.transcripts.transcript import Segment


class WordTimes:
    """The words of segments, sorted by time.

    The words of a segment are assumed to be evenly spaced; the time of a word is its middle.

    Args:
        segments: The segments, in any order.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        parts = [segment.text.split() for segment in segments]
        counts = np.array([len(part) for part in parts], dtype=np.int64)
        start_s = np.array([segment.start_s for segment in segments], dtype=np.float64)
        end_s = np.array([segment.end_s for segment in segments], dtype=np.float64)
        pace_s = (end_s - start_s) / np.maximum(counts, 1)
        first = np.cumsum(counts) - counts
        self._words = list(itertools.chain.from_iterable(parts))
        self._segment = np.repeat(np.arange(len(parts)), counts)
        place = np.arange(len(self._words)) - first[self._segment]
        word_s = start_s[self._segment] + (place + 0.5) * pace_s[self._segment]
        self._order = np.argsort(word_s, kind="stable")
        self._word_s = word_s[self._order]

    def within(self, start_s: float, end_s: float) -> Iterator[tuple[int, str]]:
        """Yield each segment with words in a time range, and those words.

        Args:
            start_s: Start in seconds on the clip's clock, inclusive.
            end_s: End, exclusive.

        Yields:
            Index of the segment, ascending, and its words in that range, joined by spaces.
        """
        low, high = np.searchsorted(self._word_s, [start_s, end_s])
        chosen = np.sort(self._order[low:high]).tolist()
        for index, words in itertools.groupby(chosen, key=self._segment.__getitem__):
            yield int(index), " ".join(map(self._words.__getitem__, words))
