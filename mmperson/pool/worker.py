"""The worker process: it reads untrusted files, and a crash loses one clip.

It reads settings, then one task per line, from standard input, and answers each task. All lines are
JSON, because a parent must not unpickle data from a process that reads untrusted files.

On systems with kernel timers (Linux, macOS), SIGALRM ends a worker on timeout, whatever FFmpeg does
and even without the parent; elsewhere the parent kills it. Resource limits, where available, cap
the size of written files and disable core dumps; Linux also limits memory.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from mmperson.errors import MMPersonError

try:
    import resource
except ModuleNotFoundError:  # Windows
    HAS_LIMITS = False
else:
    HAS_LIMITS = True

TaskFunction: TypeAlias = Callable[[Any], dict[str, Any]]
"""Processes a task; task and result are JSON values."""

SINGLE_THREAD_ENV: Final = {
    f"{library}_THREADS": "1"
    for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM")
}
"""Environment for single-threaded numpy: with more threads, sums round differently."""
HAS_TIMERS: Final = hasattr(signal, "setitimer")
"""Whether the kernel ends a worker on timeout; not on Windows."""
OUT_OF_MEMORY: Final = 71
"""Exit code of an out-of-memory worker: ``os.EX_OSERR``, which Windows lacks."""
STARTUP_TIMEOUT_S: Final = 120.0
"""Timeout of a worker's initialization."""
_SIZE: Final = Path("/proc/self/statm")


def serve(module: str) -> None:
    """Process tasks until standard input ends.

    Args:
        module: Name of the module whose ``initialize`` takes the workload's settings and returns a
            ``TaskFunction``. It is imported after stdout is redirected.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # prints of libraries are not answers
    settings = json.loads(sys.stdin.buffer.readline())
    if HAS_TIMERS:  # the parent may have blocked or ignored it
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _set_timer(STARTUP_TIMEOUT_S)
    try:
        act: TaskFunction = importlib.import_module(module).initialize(settings["workload"])
    except MMPersonError as error:
        _answer(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    if stat.S_ISREG(os.fstat(2).st_mode):  # a log file, which the size limit makes unwritable
        _discard_output()
    limit_resources(settings["memory_mb"], settings["largest_file"])
    _answer(answers, {"ready": True})
    _set_timer(0)
    for line in sys.stdin.buffer:
        task = json.loads(line)
        _set_timer(settings["timeout_s"])
        try:
            done = act(task)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # an answer would need memory
        except Exception as error:  # a bug in mmperson also loses only one clip
            _answer(answers, {"raised": f"{type(error).__name__}: {error}"})
            return
        _set_timer(0)
        _answer(answers, done)


def limits_memory() -> bool:
    """Return whether this system can limit the memory of a process; only Linux can."""
    return HAS_LIMITS and _SIZE.exists()


def limit_resources(memory_mb: float, largest_file: int = 0) -> None:
    """Limit the files, core dumps and memory of this process, if the system can.

    Args:
        memory_mb: Address space in addition to the current use, in MiB; ignored where
            ``limits_memory`` returns False.
        largest_file: Bytes of the largest file that may be written; 0 for none.
    """
    if not HAS_LIMITS:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower_limit(resource.RLIMIT_FSIZE, largest_file)
    if limits_memory():
        pages = int(_SIZE.read_text(encoding="ascii").split()[0])
        _lower_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + int(memory_mb * 2**20))


def _set_timer(seconds: float) -> None:
    """Let the kernel end this process after a time; 0 for never."""
    if HAS_TIMERS:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _discard_output() -> None:
    """Redirect stdout and stderr to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):
        os.dup2(nowhere, printed)
    os.close(nowhere)


def _lower_limit(kind: int, wanted: int) -> None:
    """Lower a limit permanently."""
    _, hardest = resource.getrlimit(kind)
    limit = wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest)
    resource.setrlimit(kind, (limit, limit))


def _answer(answers: int, message: dict[str, Any]) -> None:
    """Write one line; exit if the parent is gone."""
    content = json.dumps(message, allow_nan=False).encode() + b"\n"
    try:
        while content:
            content = content[os.write(answers, content) :]
    except OSError:  # not only BrokenPipeError: Windows calls it an invalid argument
        os._exit(0)
