"""The process that ``batch`` hands clips to: it may die of one, and costs no other.

It takes settings, then a clip per line on standard input, and answers each with its record; all are
lines of JSON, as a parent must not unpickle what comes from a process that reads hostile files. A
clip that runs over its time ends the process by SIGALRM, which the kernel sees to, whatever FFmpeg
is doing and even if the parent is gone. Once the bundle is open, the process can write no file, and
Linux keeps its memory within a limit.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, Final

ONE_THREAD: Final = {
    f"{library}_THREADS": "1"
    for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM")
}
"""Environment in which numpy computes on one thread: on more, sums round differently."""
OUT_OF_MEMORY: Final = os.EX_OSERR
"""Exit code of a worker that was refused memory; a clip was too much for it."""
_START_S: Final = 120.0
_SIZE: Final = Path("/proc/self/statm")


def main() -> None:
    """Score clips until standard input ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no record
    settings = json.loads(sys.stdin.buffer.readline())
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _START_S)

    from mmperson.errors import MMPersonError
    from mmperson.runtime.bundle import open_bundle
    from mmperson.runtime.predictor import Predictor

    try:
        predictor = Predictor(
            open_bundle(Path(settings["bundle"])),
            provider=settings["provider"],
            decode=settings["decode"],
            decode_threads="none",
        )
    except MMPersonError as error:
        _answer(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    confine(settings["memory_mb"])
    _answer(answers, {"ready": True})
    signal.setitimer(signal.ITIMER_REAL, 0)
    for line in sys.stdin.buffer:
        clip, transcript = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, settings["timeout_s"])
        try:
            record = predictor.predict(clip, None if transcript is None else Path(transcript))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # nothing that needs memory can be said any more
        except Exception as error:  # a bug in mmperson costs one clip, too; its record names it
            _answer(answers, {"raised": f"{type(error).__name__}: {error}"})
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        _answer(answers, record.to_dict())


def limits_memory() -> bool:
    """Return whether this system keeps a process within a limit of memory, as Linux does."""
    return _SIZE.exists()


def confine(memory_mb: float) -> None:
    """Take from this process the means to do harm: files, core dumps, and memory beyond a limit.

    Args:
        memory_mb: Address space beyond what is in use now, in MiB; without effect where
            ``limits_memory`` says no.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if limits_memory():
        pages = int(_SIZE.read_text(encoding="ascii").split()[0])
        wanted = pages * resource.getpagesize() + int(memory_mb * 2**20)
        _, hardest = resource.getrlimit(resource.RLIMIT_AS)
        limit = wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(answers: int, message: dict[str, Any]) -> None:
    """Write one line; if nobody is there to read it any more, end."""
    content = json.dumps(message, allow_nan=False).encode() + b"\n"
    try:
        while content:
            content = content[os.write(answers, content) :]
    except BrokenPipeError:
        os._exit(0)
