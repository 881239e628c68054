"""Parts of a recording: which seconds of it are read."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from mmperson.errors import UsageError

# Shorter windows say little, and more of them at once would need much memory.
SHORTEST_S = 1.0
_MOST_AT_ONCE = 16
# Streams end up to about this long before or after the declared end.
_LEAST_NEW_S = 0.5


@dataclass(frozen=True)
class Span:
    """Seconds on the clip's clock, from ``start_s`` up to ``end_s``."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise UsageError(
                f"A span lasts from {self.start_s} to {self.end_s} s; it must begin at 0 or later "
                "and end after that."
            )


WHOLE = Span(0.0, inf)


def check_windows(window_s: float, step_s: float) -> None:
    """Refuse windows that are too short, or too many of which overlap.

    Args:
        window_s: Length of a window in seconds.
        step_s: From one start to the next, in seconds.

    Raises:
        UsageError: They are; the message says what is allowed.
    """
    if not SHORTEST_S <= window_s < inf:
        raise UsageError(f"Windows last {window_s:g} s; they must last {SHORTEST_S:g} s or more.")
    least_s = max(SHORTEST_S, window_s / _MOST_AT_ONCE)
    if not least_s <= step_s < inf:
        raise UsageError(
            f"Windows of {window_s:g} s start every {step_s:g} s; the step must be {least_s:g} s "
            f"or more, so that no more than {_MOST_AT_ONCE} overlap."
        )


def plan_windows(duration_s: float, window_s: float, step_s: float) -> list[Span]:
    """Return windows of one length that start at 0 and then every ``step_s``.

    The last one is moved back so that it ends with the recording, unless less than half a second
    would be new in it. A recording shorter than a window is one window.

    Args:
        duration_s: Length of the recording in seconds.
        window_s: Length of a window in seconds.
        step_s: From one start to the next, in seconds.

    >>> [(span.start_s, span.end_s) for span in plan_windows(26.0, 10.0, 10.0)]
    [(0.0, 10.0), (10.0, 20.0), (16.0, 26.0)]
    """
    if duration_s <= window_s:
        return [Span(0.0, duration_s if duration_s > 0 else window_s)]
    whole = int((duration_s - window_s) // step_s) + 1
    spans = [Span(number * step_s, number * step_s + window_s) for number in range(whole)]
    if whole * step_s < duration_s and duration_s - spans[-1].end_s >= _LEAST_NEW_S:
        spans.append(Span(duration_s - window_s, duration_s))
    return spans
