"""The worker process: it reads hostile files, and a crash in it costs one clip.

It reads settings, then one task per line, from standard input, and answers each. All lines are
JSON, because a parent must not unpickle what comes from a process that reads hostile files.

Where the system has kernel timers (Linux, macOS), SIGALRM ends a worker whose clip runs over its
time, whatever FFmpeg is doing and even if the parent is gone; elsewhere the parent kills it. Where
it has resource limits, a ready worker can write no file larger than allowed and leaves no core
dump; Linux also limits its memory.
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
"""Does a task, which was sent as JSON, and returns what is sent back as JSON."""

SINGLE_THREAD_ENV: Final = {
    f"{library}_THREADS": "1"
    for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM")
}
"""Environment in which numpy computes on one thread: on more, sums round differently."""
HAS_TIMERS: Final = hasattr(signal, "setitimer")
"""Whether the kernel ends a worker whose clip runs over its time; not on Windows."""
OUT_OF_MEMORY: Final = 71
"""Exit code of a worker that was refused memory: ``os.EX_OSERR``, which Windows does not name."""
STARTUP_TIMEOUT_S: Final = 120.0
"""Time in which a worker must get ready, in seconds."""
_SIZE: Final = Path("/proc/self/statm")


def serve(module: str) -> None:
    """Do tasks until standard input ends.

    Args:
        module: Name of the module whose ``initialize`` takes the settings of the work and returns
            what does a task. It is imported here: what libraries print meanwhile is no answer.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
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
    if stat.S_ISREG(os.fstat(2).st_mode):  # a log that may not grow: to print would fail
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
            os._exit(OUT_OF_MEMORY)  # nothing that needs memory can be said any more
        except Exception as error:  # a bug in mmperson costs one clip, too; its record names it
            _answer(answers, {"raised": f"{type(error).__name__}: {error}"})
            return
        _set_timer(0)
        _answer(answers, done)


def limits_memory() -> bool:
    """Return whether this system limits the memory of a process, as Linux does."""
    return HAS_LIMITS and _SIZE.exists()


def limit_resources(memory_mb: float, largest_file: int = 0) -> None:
    """Limit the files, core dumps and memory of this process, as far as the system can.

    Args:
        memory_mb: Address space beyond what is in use now, in MiB; without effect where
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
    """Let the kernel end this process after so long; 0 for never."""
    if HAS_TIMERS:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _discard_output() -> None:
    """Drop what is printed from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):
        os.dup2(nowhere, printed)
    os.close(nowhere)


def _lower_limit(kind: int, wanted: int) -> None:
    """Set a limit for good, unless there is a lower one."""
    _, hardest = resource.getrlimit(kind)
    limit = wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest)
    resource.setrlimit(kind, (limit, limit))


def _answer(answers: int, message: dict[str, Any]) -> None:
    """Write one line; if nobody is there to read it any more, end."""
    content = json.dumps(message, allow_nan=False).encode() + b"\n"
    try:
        while content:
            content = content[os.write(answers, content) :]
    except OSError:  # not only BrokenPipeError: Windows calls it an invalid argument
        os._exit(0)
