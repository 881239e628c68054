"""Processes that take clips in hand, and how they are spoken to; a clip may end the one it is in.

Every worker is a process of its own that gets ready once and does one task at a time on one thread.
It is started anew, never forked: FFmpeg and ONNX Runtime do not survive a fork. A clip that crashes
it, hangs it or wants too much memory costs itself alone; the next clip gets a new worker. A worker
ends itself when its time is over; one that cannot, as it was stopped, is ended from here.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, Generic, Self

from mmperson.errors import UsageError
from mmperson.pool.exit_errors import (
    FAULT_SIGNALS,
    describe_exit,
    error_for_exit,
    error_for_startup_exit,
)
from mmperson.pool.worker import SINGLE_THREAD_ENV, STARTUP_TIMEOUT_S
from mmperson.pool.workload import (
    DEFAULT_MEMORY_MB,
    DEFAULT_TIMEOUT_S,
    DoneT,
    TaskT,
    WorkerLimits,
    Workload,
    cpu_count,
)

__all__ = [
    "DEFAULT_MEMORY_MB",
    "DEFAULT_TIMEOUT_S",
    "WorkerLimits",
    "WorkerPool",
    "Workload",
    "cpu_count",
    "imap_unordered",
]

_MAX_ANSWER_BYTES: Final = 1 << 22
_LAST_S: Final = 1.0
_GRACE_S: Final = 5.0
"""How long after its time a worker may still be there before it is ended from here."""
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mmperson.pool.worker import serve; serve(sys.argv[2])"
)


class WorkerPool(Generic[TaskT, DoneT]):
    """Workers that have at most one clip each in hand; to be used in a ``with`` statement.

    A worker is started by the first clip for which none is idle, and lives on until the crew is
    closed or a clip ends it.

    Args:
        workload: What is done.
        limits: Number of workers, and what is refused.

    Attributes:
        size: How many workers there may be.

    Raises:
        UsageError: The system has no room for one more open file.
    """

    def __init__(self, workload: Workload[TaskT, DoneT], limits: WorkerLimits) -> None:
        self.size = limits.workers or cpu_count()
        self._workload, self._bounds = workload, limits
        self._idle: list[_Worker[TaskT]] = []
        with _starting(self.size):
            self._busy = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers():
            worker.close()
        self._busy.close()

    @property
    def busy(self) -> int:
        """How many clips are in hand."""
        return len(self._busy.get_map())

    @property
    def free(self) -> int:
        """How many more clips can be handed in now."""
        return self.size - self.busy

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers()]

    def submit(self, number: int, task: TaskT) -> None:
        """Hand in a task; only while ``free`` is above 0.

        Args:
            number: What its answer is to come with.
            task: The task; something that JSON can hold.

        Raises:
            UsageError: The system lets no more workers be started.
        """
        while self._idle:
            worker = self._idle.pop()
            if worker.lives:
                worker.submit(number, task)
                break
            worker.close()  # something has ended it since its last clip, which this one is not for
        else:
            with _starting(self.size):
                worker = _Worker(self._workload, self._bounds, number, task)
        self._busy.register(worker.answers, selectors.EVENT_READ, worker)

    def poll(self, patience_s: float | None = None) -> list[tuple[int, DoneT]]:
        """Wait until a worker says something; return numbers and answers of tasks that are done.

        Args:
            patience_s: How long to wait at most; None for as long as it takes.

        Raises:
            MMPersonError: Workers cannot get ready, or cannot be started.
        """
        done: list[tuple[int, DoneT]] = []
        for key, _ in self._busy.select(self._patience_s(patience_s)):
            worker: _Worker[TaskT] = key.data
            try:
                answer = worker.receive()
                if answer is None:
                    continue
                done.append((worker.number, self._workload.read(worker.task, answer)))
                self._busy.unregister(key.fileobj)
                self._idle.append(worker)
            except _StartupError as end:
                raise self._workload.on_startup_error(str(end)) from end
            except (_WorkerExit, ValueError, TypeError, RecursionError) as end:
                raised = str(end) if isinstance(end, _WorkerExit) else ""
                done.append(self._lose(worker, raised=raised))
        done += [self._lose(worker, overdue=True) for worker in self._taken if worker.left_s < 0]
        return done

    def _lose(
        self, worker: _Worker[TaskT], *, raised: str = "", overdue: bool = False
    ) -> tuple[int, DoneT]:
        """End a worker, and give up the task that it has in hand."""
        self._busy.unregister(worker.answers)
        code = worker.close(0.0 if overdue else _LAST_S)
        if overdue:
            code = -signal.SIGALRM  # by which it would have ended itself, had it not been stopped
        error = (
            error_for_exit(code, raised, self._bounds.timeout_s, self._bounds.memory_mb)
            if worker.is_ready
            else error_for_startup_exit(code)
        )
        return worker.number, self._workload.on_crash(worker.task, error)

    def _patience_s(self, patience_s: float | None) -> float | None:
        """Return how long to wait for workers at most: no longer than the first one's time."""
        left_s = [max(worker.left_s, 0.0) for worker in self._taken]
        return min([*left_s, *([] if patience_s is None else [patience_s])], default=None)

    @property
    def _taken(self) -> list[_Worker[TaskT]]:
        return [key.data for key in self._busy.get_map().values()]

    def _workers(self) -> list[_Worker[TaskT]]:
        return [*self._idle, *self._taken]


def imap_unordered(
    workload: Workload[TaskT, DoneT], tasks: Iterable[TaskT], limits: WorkerLimits
) -> Iterator[tuple[int, DoneT]]:
    """Do tasks in workers, and yield each answer as soon as it is there.

    Args:
        workload: What is done.
        tasks: They are taken as workers become free. When they end, those in hand are finished.
        limits: Number of workers, and what is refused.

    Yields:
        The number of the task, from 0, and its answer.

    Raises:
        MMPersonError: Workers cannot get ready, or cannot be started.
    """
    coming = enumerate(tasks)
    done: list[tuple[int, DoneT]] = []
    with WorkerPool(workload, limits) as crew:
        while True:
            while crew.free and (task := next(coming, None)):
                crew.submit(*task)
            yield from done
            if not crew.busy:
                return
            done = crew.poll()


@contextmanager
def _starting(size: int) -> Iterator[None]:
    """Say it as a ``UsageError`` if the system lets no worker be started."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"No further worker can be started, of {size}: {error.strerror or error}.",
            hint="Use fewer (--workers, workers), or allow more open files and processes "
            "(ulimit -n, ulimit -u).",
        ) from error


class _StartupError(Exception):
    """A worker could not be started or could not get ready; its argument says why."""


class _WorkerExit(Exception):
    """A worker has come to its end, or says what no worker says.

    Its argument is what was raised in it, if it could tell.
    """


class _Worker(Generic[TaskT]):
    """One process, and the task that it has in hand.

    Args:
        workload: What it is to do.
        limits: What it may cost.
        number: Number of its first task.
        task: Its first task.

    Attributes:
        number: Number of the task in hand.
        task: The task in hand.
        answers: Where it answers.
        is_ready: Whether it has got ready.
    """

    def __init__(
        self, workload: Workload[TaskT, Any], limits: WorkerLimits, number: int, task: TaskT
    ) -> None:
        self.number, self.task = number, task
        self.is_ready = False
        self._timeout_s = limits.timeout_s
        self._due_s = time.monotonic() + STARTUP_TIMEOUT_S + _GRACE_S
        self._said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), workload.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **SINGLE_THREAD_ENV},
            process_group=0,  # Ctrl-C is for the parent, who lets the clip in hand be finished
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.answers: IO[bytes] = self._process.stdout
        self._say(
            {
                "workload": workload.settings,
                "largest_file": workload.largest_file,
                "timeout_s": limits.timeout_s,
                "memory_mb": limits.memory_mb,
            }
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def left_s(self) -> float:
        """How long it may still take, and be late, in seconds."""
        return self._due_s - time.monotonic()

    def submit(self, number: int, task: TaskT) -> None:
        """Give it the next task."""
        self.number, self.task = number, task
        self._due_s = time.monotonic() + self._timeout_s + _GRACE_S
        self._say(task)

    def receive(self) -> dict[str, Any] | None:
        """Read what it has said; return the answer to the task in hand once it is whole.

        Raises:
            _WorkerExit: It has ended, or what it says is no answer.
            _StartupError: It could not get ready.
        """
        heard = os.read(self.answers.fileno(), 1 << 16)
        self._said += heard
        if not heard and not self.is_ready:
            code = self.close(_LAST_S)
            if code >= 0 or -code in FAULT_SIGNALS:
                raise _StartupError(f"A worker could not be started: it {describe_exit(code)}.")
            raise _WorkerExit  # by someone else, such as the kernel for want of memory
        if not heard or len(self._said) > _MAX_ANSWER_BYTES:
            raise _WorkerExit
        if not self._said.endswith(b"\n"):
            return None
        line, self._said = self._said, b""
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise _WorkerExit
        if not self.is_ready:
            if problem := answer.get("failed"):
                raise _StartupError(f"A worker cannot get ready: {problem}")
            self.is_ready = True
            self.submit(self.number, self.task)
            return None
        if "raised" in answer:
            raise _WorkerExit(answer["raised"])
        return answer

    def close(self, patience_s: float = 0.0) -> int:
        """End it and return its exit code: minus the signal that ended it, if one did.

        Args:
            patience_s: How long it may take to end by itself, so that its code tells why.
        """
        assert self._process.stdin is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self._process.kill()
        self._process.stdin.close()
        self.answers.close()
        return self._process.wait()

    def _say(self, message: Any) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which is read where it answers
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
