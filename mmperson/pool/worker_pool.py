"""A pool of worker processes; a clip may crash the worker that it is in.

Each worker is a process that initializes once and does one task at a time on one thread. It is
spawned, never forked: FFmpeg and ONNX Runtime do not survive a fork. A clip that crashes it, hangs
it or needs too much memory costs itself alone; the next clip gets a new worker. A worker ends
itself when its time is over; the parent kills one that cannot, because it was stopped or because
the system has no kernel timers.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Semaphore, Thread
from typing import Any, Final, Generic, Self, TypeAlias

from mmperson.errors import UsageError
from mmperson.pool.exit_errors import (
    FAULT_SIGNALS,
    TIMED_OUT,
    describe_exit,
    error_for_exit,
    error_for_startup_exit,
)
from mmperson.pool.processors import cpu_count
from mmperson.pool.worker import HAS_TIMERS, SINGLE_THREAD_ENV, STARTUP_TIMEOUT_S
from mmperson.pool.workload import (
    DEFAULT_MEMORY_MB,
    DEFAULT_TIMEOUT_S,
    DoneT,
    TaskT,
    WorkerLimits,
    Workload,
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
_EXIT_S: Final = 1.0
"""How long a worker that has closed its output may take to end by itself."""
_GRACE_S: Final = 5.0 if HAS_TIMERS else 0.0
"""How long after its time a worker may still be there before the parent kills it."""
_POLL_S: Final = 1.0
"""Longest uninterrupted wait: Windows handles Ctrl-C between waits only."""
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mmperson.pool.worker import serve; serve(sys.argv[2])"
)


# Ctrl-C is for the parent alone, which lets the clips in hand be finished.
_OWN_GROUP: dict[str, Any] = {"process_group": 0}
if sys.platform == "win32":
    _OWN_GROUP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


class WorkerPool(Generic[TaskT, DoneT]):
    """Workers that have at most one task each; to be used in a ``with`` statement.

    A worker is started by the first task for which none is idle, and lives on until the pool is
    closed or a task ends it.

    Args:
        workload: What is done.
        limits: Number of workers, and what is refused.

    Attributes:
        size: How many workers there may be.
    """

    def __init__(self, workload: Workload[TaskT, DoneT], limits: WorkerLimits) -> None:
        self.size = limits.workers or cpu_count()
        self._workload, self._limits = workload, limits
        self._idle: list[_Worker[TaskT]] = []
        self._busy: list[_Worker[TaskT]] = []
        self._inbox: _Inbox = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in [*self._idle, *self._busy]:
            worker.close()

    @property
    def busy(self) -> int:
        """How many tasks are in hand."""
        return len(self._busy)

    @property
    def free(self) -> int:
        """How many more tasks can be submitted now."""
        return self.size - self.busy

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in [*self._idle, *self._busy]]

    def submit(self, number: int, task: TaskT) -> None:
        """Submit a task; only while ``free`` is above 0.

        Args:
            number: What its answer is to come with.
            task: The task; something that JSON can hold.

        Raises:
            UsageError: The system lets no more workers be started.
        """
        with _start_errors(self.size):
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    worker.submit(number, task)
                    break
                worker.close()  # something has ended it since its last task, which is not this one
            else:
                worker = _Worker(self._workload, self._limits, self._inbox, number, task)
        self._busy.append(worker)

    def poll(self, timeout_s: float | None = None) -> list[tuple[int, DoneT]]:
        """Wait for an answer of a worker; return numbers and answers of tasks that are done.

        Args:
            timeout_s: How long to wait at most; None for as long as it takes, or a little less: the
                list may be empty.

        Raises:
            MMPersonError: Workers cannot get ready, or cannot be started.
        """
        done: list[tuple[int, DoneT]] = []
        for worker, line in self._receive(timeout_s):
            if worker not in self._busy:  # it has been closed
                continue
            try:
                answer = worker.read(line)
                if answer is None:
                    continue
                done.append((worker.number, self._workload.read(worker.task, answer)))
                self._busy.remove(worker)
                self._idle.append(worker)
            except _StartupError as end:
                raise self._workload.on_startup_error(str(end)) from end
            except (_WorkerExit, ValueError, TypeError, RecursionError) as end:
                raised = str(end) if isinstance(end, _WorkerExit) else ""
                done.append(self._give_up(worker, raised=raised))
        overdue = [worker for worker in self._busy if worker.left_s < 0]
        return done + [self._give_up(worker, is_overdue=True) for worker in overdue]

    def _receive(self, timeout_s: float | None) -> list[_Message]:
        """Wait until a worker says something, but no longer than the first one's time."""
        left_s = [max(worker.left_s, 0.0) for worker in self._busy]
        wait_s = min([*left_s, _POLL_S, *([] if timeout_s is None else [timeout_s])])
        messages: list[_Message] = []
        with suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=wait_s))
            while True:
                messages.append(self._inbox.get_nowait())
        return messages

    def _give_up(
        self, worker: _Worker[TaskT], *, raised: str = "", is_overdue: bool = False
    ) -> tuple[int, DoneT]:
        """Close a worker, and return what stands in for the answer to its task."""
        self._busy.remove(worker)
        code = worker.close(0.0 if is_overdue else _EXIT_S)
        if is_overdue:
            code = TIMED_OUT  # by which it would have ended itself, had it been able to
        error = (
            error_for_exit(code, raised, self._limits.timeout_s, self._limits.memory_mb)
            if worker.is_ready
            else error_for_startup_exit(code)
        )
        return worker.number, self._workload.on_crash(worker.task, error)


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
    with WorkerPool(workload, limits) as pool:
        while True:
            while pool.free and (task := next(coming, None)):
                pool.submit(*task)
            yield from done
            if not pool.busy:
                return
            done = pool.poll()


@contextmanager
def _start_errors(size: int) -> Iterator[None]:
    """Raise a ``UsageError`` if the system lets no worker be started."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
        raise UsageError(
            f"No further worker can be started, of {size}: "
            f"{getattr(error, 'strerror', None) or error}.",
            hint="Use fewer (--workers, workers), or allow more open files and processes "
            "(ulimit -n, ulimit -u).",
        ) from error


class _StartupError(Exception):
    """A worker could not be started or could not get ready; its argument says why."""


class _WorkerExit(Exception):
    """A worker has ended, or its answer is none.

    Its argument is what was raised in it, if it could tell.
    """


class _Worker(Generic[TaskT]):
    """One process, and its task.

    A thread waits for its answers, one line per message: this works on every system, and a worker
    that writes without end fills no memory.

    Args:
        workload: What it is to do.
        limits: What it may cost.
        inbox: Where its lines go.
        number: Number of its first task.
        task: Its first task.

    Attributes:
        number: Number of the task in hand.
        task: The task in hand.
        is_ready: Whether it has got ready.
    """

    def __init__(
        self,
        workload: Workload[TaskT, Any],
        limits: WorkerLimits,
        inbox: _Inbox,
        number: int,
        task: TaskT,
    ) -> None:
        self.number, self.task = number, task
        self.is_ready = self._is_closed = False
        self._timeout_s, self._inbox = limits.timeout_s, inbox
        self._messages = Semaphore(0)  # those that are not answered yet
        self._reader = Thread(target=self._forward, daemon=True)
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), workload.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **SINGLE_THREAD_ENV},
            **_OWN_GROUP,
        )
        try:
            self._reader.start()
        except RuntimeError:  # the system allows no more threads
            self._process.kill()
            self._process.communicate()
            raise
        settings = {
            "workload": workload.settings,
            "largest_file": workload.largest_file,
            "timeout_s": limits.timeout_s,
            "memory_mb": limits.memory_mb,
        }
        self._send(settings, STARTUP_TIMEOUT_S)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def left_s(self) -> float:
        """How long it may still take, and be late, in seconds."""
        return self._due_s - time.monotonic()

    def submit(self, number: int, task: TaskT) -> None:
        """Give it the next task."""
        self.number, self.task = number, task
        self._send(task, self._timeout_s)

    def read(self, line: bytes) -> dict[str, Any] | None:
        """Return the answer to the task in hand; None if the line says that it has got ready.

        Raises:
            _WorkerExit: It has ended, or what it says is no answer.
            _StartupError: It could not get ready.
        """
        if not line and not self.is_ready:
            code = self.close(_EXIT_S)
            if code >= 0 or -code in FAULT_SIGNALS:
                raise _StartupError(f"A worker could not be started: it {describe_exit(code)}.")
            raise _WorkerExit  # by someone else, such as the kernel for want of memory
        if not line.endswith(b"\n"):
            raise _WorkerExit
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

    def close(self, timeout_s: float = 0.0) -> int:
        """End it and return its exit code: minus the signal that ended it, if one did.

        Args:
            timeout_s: How long it may take to end by itself, so that its code tells why.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self._process.kill()
        self._is_closed = True
        self._messages.release()
        self._reader.join()
        with suppress(OSError):  # what could not be written
            self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait()

    def _send(self, message: Any, timeout_s: float) -> None:
        assert self._process.stdin is not None
        self._due_s = time.monotonic() + timeout_s + _GRACE_S
        with suppress(OSError):  # it has ended, which is read where it answers
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        self._messages.release()

    def _forward(self) -> None:
        """Put a line into the inbox for each message; an empty one, the last, if it has ended."""
        assert self._process.stdout is not None
        line = b"\n"
        while line and not self._is_closed:
            self._messages.acquire()
            line = self._process.stdout.readline(_MAX_ANSWER_BYTES)
            self._inbox.put((self, line))


_Message: TypeAlias = tuple[_Worker[Any], bytes]
_Inbox: TypeAlias = "queue.SimpleQueue[_Message]"
