"""Hand the frames of one stream to the readers of successive spans, which may overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from mmperson.media.windows import Span


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


class WindowFanout(Generic[ReaderT]):
    """Feeds the readers of spans; each is made when the one before it begins.

    So a reader also gets frames from before its span, of which it may need the last one, and at any
    time there are only as many readers as spans overlap, one ahead, and those not yet taken. After
    a gap, one frame ends many spans: their readers are made as those before them are taken.

    Args:
        spans: The spans, by their start.
        make: A span to its reader.
        most_waiting: With more readers than this that need nothing more, the next is made when one
            of them is taken.
    """

    def __init__(
        self, spans: Sequence[Span], make: Callable[[Span], ReaderT], most_waiting: float = inf
    ) -> None:
        self._spans = spans
        self._make = make
        self._most_waiting = most_waiting
        self._made = 0
        self._readers: deque[ReaderT] = deque()
        self._held: deque[tuple[Any, float | None]] = deque()  # frames that no reader has had
        # A reader that is made late may need the frame before the last one, too.
        self._shown: deque[tuple[Any, float | None]] = deque(maxlen=2)
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
        return not self._is_due() and all(
            reader.done or reader.skips(begin_s, end_s) for reader in self._readers
        )

    def add(self, frame: Any, time_s: float | None) -> None:
        """Hand on the next frame."""
        self._held.append((frame, time_s))
        self._hand_on()

    def take(self) -> ReaderT:
        """Return the reader of the earliest span that has not been taken."""
        if not self._readers:
            self._make_next()
        reader = self._readers.popleft()
        for frame, time_s in self._held:
            if not reader.done:
                reader.add(frame, time_s)
        self._hand_on()
        return reader

    def _hand_on(self) -> None:
        """Make the readers that are due and give out what is held, as far as there is room."""
        while True:
            while self._is_due():
                if self.waiting > self._most_waiting:
                    return
                self._make_next()
            if not self._held:
                return
            self._shown.append(self._held.popleft())
            for reader in self._readers:
                if not reader.done:
                    reader.add(*self._shown[-1])

    def _is_due(self) -> bool:
        """Return whether the span before the next one has begun, or been taken."""
        if self._made == len(self._spans):
            return False
        if not self._readers or not self._shown:
            return not self._readers
        _, time_s = self._shown[-1]
        return (time_s or 0.0) >= self._spans[self._made - 1].start_s

    def _make_next(self) -> None:
        reader = self._make(self._spans[self._made])
        for frame, time_s in self._shown:
            if not reader.done:
                reader.add(frame, time_s)
        self._readers.append(reader)
        self._made += 1
