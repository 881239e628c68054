"""A pool of worker processes that survives crashing clips.

Each worker is a single-threaded process that initializes once and processes one task at a time. It
is spawned, never forked: FFmpeg and ONNX Runtime do not survive a fork. If a clip crashes, hangs or
exhausts the memory of its worker, only this clip fails; the next one gets a new worker. A worker
ends itself on timeout; the parent kills one that was stopped or has no kernel timer.
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
"""Time for a worker that has closed its output to exit by itself."""
_GRACE_S: Final = 5.0 if HAS_TIMERS else 0.0
"""Time after a timeout before the parent kills the worker."""
_POLL_S: Final = 1.0
"""Longest single wait: Windows handles Ctrl-C only between waits."""
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mmperson.pool.worker import serve; serve(sys.argv[2])"
)


# Only the parent gets Ctrl-C; it lets the current clips finish.
_OWN_GROUP: dict[str, Any] = {"process_group": 0}
if sys.platform == "win32":
    _OWN_GROUP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


class WorkerPool(Generic[TaskT, DoneT]):
    """Workers with at most one task each, for use in a ``with`` statement.

    ``submit`` starts a worker if none is idle. Workers live until the pool is closed or a task
    crashes them.

    Args:
        workload: The workload.
        limits: Number and limits of workers.

    Attributes:
        size: Largest number of workers.
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
        """Number of unfinished tasks."""
        return len(self._busy)

    @property
    def free(self) -> int:
        """Number of tasks that can be submitted now."""
        return self.size - self.busy

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in [*self._idle, *self._busy]]

    def submit(self, number: int, task: TaskT) -> None:
        """Submit a task; ``free`` must be above 0.

        Args:
            number: Number of the task, which ``poll`` returns with its result.
            task: The task, a JSON value.

        Raises:
            UsageError: No worker can be started.
        """
        with _start_errors(self.size):
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    worker.submit(number, task)
                    break
                worker.close()  # it was killed while idle
            else:
                worker = _Worker(self._workload, self._limits, self._inbox, number, task)
        self._busy.append(worker)

    def poll(self, timeout_s: float | None = None) -> list[tuple[int, DoneT]]:
        """Wait for an answer; return numbers and results of finished tasks, possibly none.

        Args:
            timeout_s: Longest wait in seconds; None for no limit of the caller's.

        Raises:
            MMPersonError: Workers cannot be started or initialized.
        """
        done: list[tuple[int, DoneT]] = []
        for worker, line in self._receive(timeout_s):
            if worker not in self._busy:  # already closed
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
        overdue = [worker for worker in self._busy if worker.remaining_s < 0]
        return done + [self._give_up(worker, is_overdue=True) for worker in overdue]

    def _receive(self, timeout_s: float | None) -> list[_Message]:
        """Wait for messages, at most until the first timeout."""
        remaining_s = [max(worker.remaining_s, 0.0) for worker in self._busy]
        wait_s = min([*remaining_s, _POLL_S, *([] if timeout_s is None else [timeout_s])])
        messages: list[_Message] = []
        with suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=wait_s))
            while True:
                messages.append(self._inbox.get_nowait())
        return messages

    def _give_up(
        self, worker: _Worker[TaskT], *, raised: str = "", is_overdue: bool = False
    ) -> tuple[int, DoneT]:
        """Close a worker, and return the number and fallback result of its task."""
        self._busy.remove(worker)
        code = worker.close(0.0 if is_overdue else _EXIT_S)
        if is_overdue:
            code = TIMED_OUT  # the code of a worker that ends itself
        error = (
            error_for_exit(code, raised, self._limits.timeout_s, self._limits.memory_mb)
            if worker.is_ready
            else error_for_startup_exit(code)
        )
        return worker.number, self._workload.on_crash(worker.task, error)


def imap_unordered(
    workload: Workload[TaskT, DoneT], tasks: Iterable[TaskT], limits: WorkerLimits
) -> Iterator[tuple[int, DoneT]]:
    """Process tasks in workers, and yield results in order of completion.

    Args:
        workload: The workload.
        tasks: Consumed as workers become free.
        limits: Number and limits of workers.

    Yields:
        The number of the task, from 0, and its result.

    Raises:
        MMPersonError: Workers cannot be started or initialized.
    """
    pending = enumerate(tasks)
    done: list[tuple[int, DoneT]] = []
    with WorkerPool(workload, limits) as pool:
        while True:
            while pool.free and (task := next(pending, None)):
                pool.submit(*task)
            yield from done
            if not pool.busy:
                return
            done = pool.poll()


@contextmanager
def _start_errors(size: int) -> Iterator[None]:
    """Raise a ``UsageError`` if a worker cannot be started."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
        raise UsageError(
            f"Not all of {size} workers can be started: "
            f"{getattr(error, 'strerror', None) or error}.",
            hint="Use fewer (--workers, workers), or allow more open files and processes "
            "(ulimit -n, ulimit -u).",
        ) from error


class _StartupError(Exception):
    """A worker could not be started or initialized; the argument is the reason."""


class _WorkerExit(Exception):
    """A worker has ended or sent an invalid answer; the argument is the exception it reported."""


class _Worker(Generic[TaskT]):
    """One process with its current task; a thread forwards its answers, one line per message."""

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
        self._messages = Semaphore(0)  # unanswered ones, so that endless output fills no memory
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
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def remaining_s(self) -> float:
        """Seconds until the parent kills it."""
        return self._due_s - time.monotonic()

    def submit(self, number: int, task: TaskT) -> None:
        """Send the next task."""
        self.number, self.task = number, task
        self._send(task, self._timeout_s)

    def read(self, line: bytes) -> dict[str, Any] | None:
        """Return the answer to the current task; None for the message that it is ready."""
        if not line and not self.is_ready:
            code = self.close(_EXIT_S)
            if code >= 0 or -code in FAULT_SIGNALS:
                raise _StartupError(f"A worker could not be started: it {describe_exit(code)}.")
            raise _WorkerExit  # killed from outside, such as by the out-of-memory killer
        if not line.endswith(b"\n"):
            raise _WorkerExit
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise _WorkerExit
        if not self.is_ready:
            if problem := answer.get("failed"):
                raise _StartupError(f"A worker could not be initialized: {problem}")
            self.is_ready = True
            self.submit(self.number, self.task)
            return None
        if "raised" in answer:
            raise _WorkerExit(answer["raised"])
        return answer

    def close(self, timeout_s: float = 0.0) -> int:
        """Wait for the process to exit, kill it on timeout, and return its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self._process.kill()
        self._is_closed = True
        self._messages.release()
        self._reader.join()
        with suppress(OSError):  # unsent data
            self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait()

    def _send(self, message: Any, timeout_s: float) -> None:
        assert self._process.stdin is not None
        self._due_s = time.monotonic() + timeout_s + _GRACE_S
        with suppress(OSError):  # it has ended; ``read`` handles that
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        self._messages.release()

    def _forward(self) -> None:
        """Put one line per message into the inbox; an empty line means that the process ended."""
        assert self._process.stdout is not None
        line = b"\n"
        while line and not self._is_closed:
            self._messages.acquire()
            line = self._process.stdout.readline(_MAX_ANSWER_BYTES)
            self._inbox.put((self, line))


_Message: TypeAlias = tuple[_Worker[Any], bytes]
_Inbox: TypeAlias = "queue.SimpleQueue[_Message]"
