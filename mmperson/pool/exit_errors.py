"""The error of a clip that ended its worker, by the worker's exit code."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Final

from mmperson.errors import MediaError, MediaTooLarge, UnreadableMedia
from mmperson.pool.worker import OUT_OF_MEMORY, STARTUP_TIMEOUT_S

FAULT_SIGNALS: Final = frozenset(
    number
    for number in signal.Signals
    if number.name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS")
)
"""Signals that a process gets for what it does itself; Windows has fewer."""
TIMED_OUT: Final = -14
"""Exit code of a worker whose clip took too long: SIGALRM, which is 14 on every system that has it.
A parent that ends such a worker itself uses the same code."""


def error_for_exit(code: int, raised: str, timeout_s: float, memory_mb: float) -> MediaError:
    """Return the error of a clip that ended its worker.

    Args:
        code: The worker's exit code: minus the signal that ended it, if one did.
        raised: What was raised in it, if it could tell.
        timeout_s: The wall time that the clip was allowed.
        memory_mb: The memory that it was allowed, in MiB.
    """
    if code == TIMED_OUT:
        return MediaTooLarge(
            f"The clip took longer than {timeout_s:g} s.",
            hint="Allow more time (--timeout, timeout_s), or use a shorter clip.",
        )
    if code == OUT_OF_MEMORY:
        return MediaTooLarge(
            f"The clip needs more than {memory_mb:g} MB of memory.",
            hint="Allow more (--memory, memory_mb), or use a shorter or smaller clip.",
        )
    if raised:
        return UnreadableMedia(f"The clip raised {raised}.", hint="Please report this.")
    return UnreadableMedia(
        f"The process that had the clip {describe_exit(code)}.",
        hint="The clip may be damaged, or made to do harm; the other clips are not affected.",
    )


def error_for_startup_exit(code: int) -> MediaError:
    """Return the error of a clip whose worker ended before it could open the clip.

    Args:
        code: The worker's exit code: minus the signal that ended it, if one did.
    """
    how = describe_exit(code)
    if code == TIMED_OUT:
        how = f"was not ready after {STARTUP_TIMEOUT_S:g} s"
    return UnreadableMedia(
        f"The process that was to have the clip {how}.",
        hint="The clip was not opened: score it again, with fewer workers if there is much to do.",
    )


def describe_exit(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):  # a real-time signal has no name
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
