"""Graceful interruption: the first signal lets a run finish its current clips."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mmperson.cli.output import info

if TYPE_CHECKING:
    from mmperson.schema import Prediction

_DEFAULT_HANDLERS: Final[dict[signal.Signals, Any]] = {
    number: signal.default_int_handler if number.name == "SIGINT" else signal.SIG_DFL
    for number in signal.Signals
    if number.name in ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
}
"""Handlers that are replaced, if still Python's own: nohup, for example, ignores SIGHUP."""


@dataclass
class RunStatus:
    """Progress of a run.

    Attributes:
        done: Number of records.
        failed: Number of records with an error.
        stop_signal: The signal that interrupted the run; 0 for none.
    """

    done: int = 0
    failed: int = 0
    stop_signal: int = 0


def count(records: Iterator[Prediction], status: RunStatus) -> Iterator[Prediction]:
    """Count records; stop at a second signal."""
    try:
        for record in records:
            status.done += 1
            status.failed += record.error is not None
            yield record
    except KeyboardInterrupt:
        status.stop_signal = status.stop_signal or signal.SIGINT


@contextmanager
def interruptible(status: RunStatus) -> Iterator[None]:
    """Record the first signal in ``status``; raise ``KeyboardInterrupt`` at the second."""

    def handle(number: int, frame: object) -> None:
        if status.stop_signal:
            raise KeyboardInterrupt
        status.stop_signal = number
        if number == signal.SIGINT:
            info("Finishing the current clips. Press Ctrl-C again to stop immediately.")
        else:
            name = signal.Signals(number).name
            info(f"{name}: finishing the current clips. Send it again to stop immediately.")

    replaced = [n for n, default in _DEFAULT_HANDLERS.items() if signal.getsignal(n) is default]
    for number in replaced:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, _DEFAULT_HANDLERS[number])
