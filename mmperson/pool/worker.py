"""The process that a crew hands clips to: it may die of one, and costs no other.

It takes settings, then a task per line on standard input, and answers each; all are lines of JSON,
as a parent must not unpickle what comes from a process that reads hostile files. A clip that runs
over its time ends the process by SIGALRM, which the kernel sees to, whatever FFmpeg is doing and
even if the parent is gone. Once it is ready, the process can write no file that is larger than it
was allowed, and Linux keeps its memory within a limit.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from mmperson.errors import MMPersonError

TaskFunction: TypeAlias = Callable[[Any], dict[str, Any]]
"""Does a task, which was sent as JSON, and returns what is sent back as JSON."""

SINGLE_THREAD_ENV: Final = {
    f"{library}_THREADS": "1"
    for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM")
}
"""Environment in which numpy computes on one thread: on more, sums round differently."""
OUT_OF_MEMORY: Final = os.EX_OSERR
"""Exit code of a worker that was refused memory; a clip was too much for it."""
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
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, STARTUP_TIMEOUT_S)
    try:
        act: TaskFunction = importlib.import_module(module).initialize(settings["workload"])
    except MMPersonError as error:
        _answer(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    if stat.S_ISREG(os.fstat(2).st_mode):  # a log that may not grow: to print would fail
        _discard_output()
    limit_resources(settings["memory_mb"], settings["largest_file"])
    _answer(answers, {"ready": True})
    signal.setitimer(signal.ITIMER_REAL, 0)
    for line in sys.stdin.buffer:
        task = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, settings["timeout_s"])
        try:
            done = act(task)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # nothing that needs memory can be said any more
        except Exception as error:  # a bug in mmperson costs one clip, too; its record names it
            _answer(answers, {"raised": f"{type(error).__name__}: {error}"})
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        _answer(answers, done)


def limits_memory() -> bool:
    """Return whether this system keeps a process within a limit of memory, as Linux does."""
    return _SIZE.exists()


def limit_resources(memory_mb: float, largest_file: int = 0) -> None:
    """Take from this process the means to do harm: files, core dumps, and memory beyond a limit.

    Args:
        memory_mb: Address space beyond what is in use now, in MiB; without effect where
            ``limits_memory`` says no.
        largest_file: Bytes of the largest file that may be written; 0 for none.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower_limit(resource.RLIMIT_FSIZE, largest_file)
    if limits_memory():
        pages = int(_SIZE.read_text(encoding="ascii").split()[0])
        _lower_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + int(memory_mb * 2**20))


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
    except BrokenPipeError:
        os._exit(0)
