"""Signals that ask a run to end: the first one lets it finish what it has in hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mmperson.cli.output import info

if TYPE_CHECKING:
    from mmperson.schema import Prediction

_BEFORE: Final[dict[signal.Signals, Any]] = {
    number: signal.default_int_handler if number.name == "SIGINT" else signal.SIG_DFL
    for number in signal.Signals
    if number.name in ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
}
"""What is taken over, if it is as Python sets it: nohup, for one, has SIGHUP ignored."""


@dataclass
class RunStatus:
    """What became of the clips so far.

    Attributes:
        done: How many have a record.
        failed: How many of these could not be scored.
        asked: The signal that asked the run to end; 0 for none.
    """

    done: int = 0
    failed: int = 0
    asked: int = 0


def count(records: Iterator[Prediction], status: RunStatus) -> Iterator[Prediction]:
    """Pass records on and count them; a second signal ends them."""
    try:
        for record in records:
            status.done += 1
            status.failed += record.error is not None
            yield record
    except KeyboardInterrupt:
        status.asked = status.asked or signal.SIGINT


@contextmanager
def interruptible(status: RunStatus) -> Iterator[None]:
    """Let the first signal end the run after the clips in hand; the second one ends it at once."""

    def note(number: int, frame: object) -> None:
        if status.asked:
            raise KeyboardInterrupt
        status.asked = number
        if number == signal.SIGINT:
            info("Finishing the clips in hand. Press Ctrl-C again to stop at once.")
        else:
            info(f"{signal.Signals(number).name}: finishing the clips in hand; once more stops it.")

    taken = [number for number, before in _BEFORE.items() if signal.getsignal(number) is before]
    for number in taken:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, _BEFORE[number])
