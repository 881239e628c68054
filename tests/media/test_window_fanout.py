from math import inf

import pytest

from mmperson.media.clip import Span
from mmperson.media.windows import WindowFanout


class Sink:
    """Is done with the first frame at or after the end of its span."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.had: list[int] = []
        self.done = False

    def skips(self, begin_s: float, end_s: float) -> bool:
        return False

    def add(self, frame: int, time_s: float | None) -> None:
        assert not self.done
        self.had.append(frame)
        self.done = (time_s or 0.0) >= self.span.end_s


def fanout_of(count: int, max_waiting: float = inf) -> WindowFanout[Sink]:
    spans = [Span(float(number), number + 1.0) for number in range(count)]
    return WindowFanout(spans, Sink, max_waiting)


@pytest.mark.parametrize("max_waiting", [inf, 3])
def test_every_sink_has_the_frame_before_its_span_and_all_of_it(max_waiting: float) -> None:
    fanout = fanout_of(40, max_waiting)
    times_s = [0.0, 0.5, 1.0, 30.0, 30.5, 39.0, 41.0]  # 30.5 and later come while 30.0 is held
    for number, time_s in enumerate(times_s):
        fanout.add(number, time_s)
    had = [fanout.take().had for _ in range(40)]
    for start, numbers in enumerate(had):
        before = max(number for number, time_s in enumerate(times_s) if time_s <= start)
        after = min(number for number, time_s in enumerate(times_s) if time_s >= start + 1)
        assert set(range(before, after + 1)) <= set(numbers)
        assert numbers == sorted(set(numbers))
    assert fanout.done


def test_after_a_gap_sinks_are_made_as_others_are_taken() -> None:
    made: list[Sink] = []

    def make(span: Span) -> Sink:
        made.append(Sink(span))
        return made[-1]

    fanout = WindowFanout([Span(float(start), start + 1.0) for start in range(1000)], make, 8)
    fanout.add(0, 0.0)
    fanout.add(1, 999.5)
    assert fanout.waiting == 9
    for taken in range(1, 900):
        assert fanout.take().had == [0, 1]
        assert len(made) <= taken + 10
        assert not fanout.done


def test_a_sink_that_is_taken_early_has_what_is_held() -> None:
    class Late(Sink):
        """Waits for more than others do."""

        def add(self, frame: int, time_s: float | None) -> None:
            super().add(frame, time_s)
            self.done = self.done and (self.span.start_s > 0 or frame == 3)

    fanout = WindowFanout([Span(float(start), start + 1.0) for start in range(9)], Late, 2)
    for number, time_s in enumerate([0.0, 7.0, 7.1, 7.2, 7.3]):
        fanout.add(number, time_s)
    assert fanout.take().had == [0, 1, 2, 3]


def test_sinks_that_were_taken_early_leave_one_that_needs_frames() -> None:
    fanout = fanout_of(3)
    assert fanout.take().had == []
    assert not fanout.skips(1.0, 2.0)
    fanout.add(0, 1.5)
    assert fanout.take().had == [0]
