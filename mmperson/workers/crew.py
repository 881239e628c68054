"""Processes that take clips in hand, and how they are spoken to; a clip may end the one it is in.

Every worker is a process of its own that gets ready once and does one task at a time on one thread.
It is started anew, never forked: FFmpeg and ONNX Runtime do not survive a fork. A clip that crashes
it, hangs it or wants too much memory costs itself alone; the next clip gets a new worker.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, ClassVar, Final, Generic, Self, TypeVar

from mmperson.errors import MediaError, MMPersonError, UsageError
from mmperson.workers.lost import ending, loss
from mmperson.workers.worker import ONE_THREAD

DEFAULT_TIMEOUT_S: Final = 300.0
DEFAULT_MEMORY_MB: Final = 2048.0
_MAX_ANSWER_BYTES: Final = 1 << 22
_LAST_S: Final = 1.0
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mmperson.workers.worker import serve; serve(sys.argv[2])"
)

TaskT = TypeVar("TaskT")
DoneT = TypeVar("DoneT")


class Work(ABC, Generic[TaskT, DoneT]):
    """What a crew does with clips: a worker's part is in a module of its own, the parent's is here.

    Attributes:
        module: Name of the module whose ``get_ready`` a worker calls, see ``serve``.
    """

    module: ClassVar[str]

    @property
    def largest_file(self) -> int:
        """Bytes of the largest file that a worker may write once it is ready; 0 for none."""
        return 0

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What a worker needs to get ready; something that JSON can hold."""

    @abstractmethod
    def read(self, task: TaskT, answer: dict[str, Any]) -> DoneT:
        """Turn a worker's answer into what was asked for.

        Raises:
            ValueError: It is no answer to this task.
        """

    @abstractmethod
    def lost(self, task: TaskT, error: MediaError) -> DoneT:
        """Return what stands in for the answer to a task that has ended its worker."""

    @abstractmethod
    def broken(self, problem: str) -> MMPersonError:
        """Return the error that says why workers cannot get ready."""


@dataclass(frozen=True)
class Bounds:
    """How many workers there are, and what a clip may cost one.

    Attributes:
        workers: Processes; None for one per processor that this process may use.
        timeout_s: Wall time per clip, in seconds.
        memory_mb: Memory of a worker beyond that of one that is ready, in MiB. Linux only.

    Raises:
        UsageError: A value out of range.
    """

    workers: int | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_mb: float = DEFAULT_MEMORY_MB

    def __post_init__(self) -> None:
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise UsageError(f"The number of workers is {self.workers}; 1 to 1024 are allowed.")
        if not 0 < self.timeout_s <= 1e6:
            raise UsageError(f"The time per clip is {self.timeout_s} s; it must be above 0.")
        if not 16 <= self.memory_mb <= 1 << 20:
            raise UsageError(f"The memory of a worker is {self.memory_mb} MB; at least 16 is.")


class Crew(Generic[TaskT, DoneT]):
    """Workers that have at most one clip each in hand; to be used in a ``with`` statement.

    A worker is started by the first clip for which none is idle, and lives on until the crew is
    closed or a clip ends it.

    Args:
        work: What is done.
        bounds: Number of workers, and what is refused.

    Attributes:
        size: How many workers there may be.
    """

    def __init__(self, work: Work[TaskT, DoneT], bounds: Bounds) -> None:
        self.size = bounds.workers or processors()
        self._work, self._bounds = work, bounds
        self._idle: list[_Worker[TaskT]] = []
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

    def hand(self, number: int, task: TaskT) -> None:
        """Hand in a task; only while ``free`` is above 0.

        Args:
            number: What its answer is to come with.
            task: The task; something that JSON can hold.
        """
        while self._idle:
            worker = self._idle.pop()
            if worker.lives:
                worker.hand(number, task)
                break
            worker.close()  # something has ended it since its last clip, which this one is not for
        else:
            worker = _Worker(self._work, self._bounds, number, task)
        self._busy.register(worker.answers, selectors.EVENT_READ, worker)

    def poll(self, patience_s: float | None = None) -> list[tuple[int, DoneT]]:
        """Wait until a worker says something; return numbers and answers of tasks that are done.

        Args:
            patience_s: How long to wait at most; None for as long as it takes.

        Raises:
            MMPersonError: Workers cannot get ready, or cannot be started.
        """
        done: list[tuple[int, DoneT]] = []
        for key, _ in self._busy.select(patience_s):
            worker: _Worker[TaskT] = key.data
            try:
                answer = worker.receive()
                if answer is None:
                    continue
                done.append((worker.number, self._work.read(worker.task, answer)))
                self._busy.unregister(key.fileobj)
                self._idle.append(worker)
            except _NotReady as end:
                raise self._work.broken(str(end)) from end
            except (_Ended, ValueError, TypeError, RecursionError) as end:
                raised = str(end) if isinstance(end, _Ended) else ""
                self._busy.unregister(key.fileobj)
                code = worker.close(_LAST_S)
                error = loss(code, raised, self._bounds.timeout_s, self._bounds.memory_mb)
                done.append((worker.number, self._work.lost(worker.task, error)))
        return done

    def _workers(self) -> list[_Worker[TaskT]]:
        return [*self._idle, *(key.data for key in self._busy.get_map().values())]


def as_done(
    work: Work[TaskT, DoneT], tasks: Iterable[TaskT], bounds: Bounds
) -> Iterator[tuple[int, DoneT]]:
    """Do tasks in workers, and yield each answer as soon as it is there.

    Args:
        work: What is done.
        tasks: They are taken as workers become free. When they end, those in hand are finished.
        bounds: Number of workers, and what is refused.

    Yields:
        The number of the task, from 0, and its answer.

    Raises:
        MMPersonError: Workers cannot get ready, or cannot be started.
    """
    coming = enumerate(tasks)
    done: list[tuple[int, DoneT]] = []
    with Crew(work, bounds) as crew:
        while True:
            while crew.free and (task := next(coming, None)):
                crew.hand(*task)
            yield from done
            if not crew.busy:
                return
            done = crew.poll()


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _NotReady(Exception):
    """A worker could not be started or could not get ready; its argument says why."""


class _Ended(Exception):
    """A worker has come to its end, or says what no worker says.

    Its argument is what was raised in it, if it could tell.
    """


class _Worker(Generic[TaskT]):
    """One process, and the task that it has in hand.

    Args:
        work: What it is to do.
        bounds: What it may cost.
        number: Number of its first task.
        task: Its first task.

    Attributes:
        number: Number of the task in hand.
        task: The task in hand.
        answers: Where it answers.
    """

    def __init__(self, work: Work[TaskT, Any], bounds: Bounds, number: int, task: TaskT) -> None:
        self.number, self.task = number, task
        self._is_ready = False
        self._said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), work.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **ONE_THREAD},
            process_group=0,  # Ctrl-C is for the parent, who lets the clip in hand be finished
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.answers: IO[bytes] = self._process.stdout
        self._say(
            {
                "work": work.settings,
                "largest_file": work.largest_file,
                "timeout_s": bounds.timeout_s,
                "memory_mb": bounds.memory_mb,
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

    def hand(self, number: int, task: TaskT) -> None:
        """Give it the next task."""
        self.number, self.task = number, task
        self._say(task)

    def receive(self) -> dict[str, Any] | None:
        """Read what it has said; return the answer to the task in hand once it is whole.

        Raises:
            _Ended: It has ended, or what it says is no answer.
            _NotReady: It could not get ready.
        """
        heard = os.read(self.answers.fileno(), 1 << 16)
        self._said += heard
        if not heard and not self._is_ready:
            code = self.close(_LAST_S)
            if code == -signal.SIGKILL:  # by the kernel, for want of memory: no fault of the work
                raise _Ended
            raise _NotReady(f"A worker could not be started: it {ending(code)}.")
        if not heard or len(self._said) > _MAX_ANSWER_BYTES:
            raise _Ended
        if not self._said.endswith(b"\n"):
            return None
        line, self._said = self._said, b""
        answer = json.loads(line)
        if not self._is_ready:
            if problem := answer.get("failed"):
                raise _NotReady(f"A worker cannot get ready: {problem}")
            self._is_ready = True
            self.hand(self.number, self.task)
            return None
        if not isinstance(answer, dict):
            raise _Ended
        if "raised" in answer:
            raise _Ended(answer["raised"])
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
