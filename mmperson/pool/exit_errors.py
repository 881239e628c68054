"""The error of a clip that crashed its worker, by exit code."""

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
"""Signals for faults of the process itself; Windows has fewer."""
TIMED_OUT: Final = -14
"""Exit code of a timeout: SIGALRM, 14 wherever it exists; also used if the parent kills it."""


def error_for_exit(code: int, raised: str, timeout_s: float, memory_mb: float) -> MediaError:
    """Return the error of a clip that crashed its worker.

    Args:
        code: The worker's exit code; negative for a signal.
        raised: The exception that the worker reported, or empty.
        timeout_s: Timeout of the clip in seconds.
        memory_mb: Memory limit of the clip in MiB.
    """
    if code == TIMED_OUT:
        return MediaTooLarge(
            f"The clip took longer than {timeout_s:g} s.",
            hint="Raise the timeout (--timeout, timeout_s), or use a shorter clip.",
        )
    if code == OUT_OF_MEMORY:
        return MediaTooLarge(
            f"The clip needs more than {memory_mb:g} MB of memory.",
            hint="Raise the limit (--memory, memory_mb), or use a shorter or smaller clip.",
        )
    if raised:
        return UnreadableMedia(f"The clip raised {raised}.", hint="Please report this.")
    return UnreadableMedia(
        f"The worker process of the clip {describe_exit(code)}.",
        hint="The clip may be malformed or malicious; other clips are not affected.",
    )


def error_for_startup_exit(code: int) -> MediaError:
    """Return the error of a clip whose worker ended during startup.

    Args:
        code: The worker's exit code; negative for a signal.
    """
    end = describe_exit(code)
    if code == TIMED_OUT:
        end = f"was not ready after {STARTUP_TIMEOUT_S:g} s"
    return UnreadableMedia(
        f"Before the clip was opened, its worker process {end}.",
        hint="Try again, with fewer workers on a busy machine.",
    )


def describe_exit(code: int) -> str:
    """Describe an exit code; negative for a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):  # a real-time signal has no name
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
