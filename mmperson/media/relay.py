"""Hand the frames of one stream to the readers of successive spans, which may overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from mmperson.media.spans import Span


class Reader(Protocol):
    """What takes the frames of one span."""

    @property
    def done(self) -> bool:
        """Whether nothing more is needed."""

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether what is shown or heard between these times need not be decoded."""

    def add(self, frame: Any, time_s: float | None) -> None:
        """Take the next frame, with its time on the clip's clock or None."""


ReaderT = TypeVar("ReaderT", bound=Reader)


class Relay(Generic[ReaderT]):
    """Feeds the readers of spans; each is made when the one before it begins.

    So a reader also gets frames from before its span, of which it may need the last one, and at any
    time there are only as many readers as spans overlap, one ahead, and those not yet taken.

    Args:
        spans: The spans, by their start.
        make: A span to its reader.
    """

    def __init__(self, spans: Sequence[Span], make: Callable[[Span], ReaderT]) -> None:
        self._spans = spans
        self._make = make
        self._made = 0
        self._readers: deque[ReaderT] = deque()
        self._make_next()

    @property
    def done(self) -> bool:
        """Whether no reader needs more, and none is to come."""
        return self._made == len(self._spans) and all(reader.done for reader in self._readers)

    @property
    def ready(self) -> bool:
        """Whether the reader that ``take`` gives needs nothing more."""
        return bool(self._readers) and self._readers[0].done

    @property
    def waiting(self) -> int:
        """How many readers need nothing more and have not been taken."""
        return sum(reader.done for reader in self._readers)

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether no reader needs what lies between these times."""
        return all(reader.done or reader.skips(begin_s, end_s) for reader in self._readers)

    def add(self, frame: Any, time_s: float | None) -> None:
        """Hand on the next frame."""
        while self._made < len(self._spans) and (
            not self._readers or (time_s or 0.0) >= self._spans[self._made - 1].start_s
        ):
            self._make_next()
        for reader in self._readers:
            if not reader.done:
                reader.add(frame, time_s)

    def take(self) -> ReaderT:
        """Return the reader of the earliest span that has not been taken."""
        if not self._readers:
            self._make_next()
        return self._readers.popleft()

    def _make_next(self) -> None:
        self._readers.append(self._make(self._spans[self._made]))
        self._made += 1
