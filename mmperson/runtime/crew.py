"""Processes that score clips, and how they are spoken to; a clip may kill the one that has it.

Every worker is a process of its own that opens the bundle once and scores one clip at a time on one
thread. It is started anew, never forked: FFmpeg and ONNX Runtime do not survive a fork. A clip that
crashes it, hangs it or wants too much memory costs its own record, which says so; the next clip
gets a new worker.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Final, Self

from mmperson.errors import BundleError, UsageError
from mmperson.media.decode import Decode, check_profile
from mmperson.runtime.bundle import Bundle
from mmperson.runtime.engine import Provider, check_provider
from mmperson.runtime.lost import ending, loss, lost_record
from mmperson.runtime.worker import ONE_THREAD
from mmperson.schema import Engine, Prediction

DEFAULT_TIMEOUT_S: Final = 300.0
DEFAULT_MEMORY_MB: Final = 2048.0
_MAX_ANSWER_BYTES: Final = 1 << 22
_LAST_S: Final = 1.0
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mmperson.runtime.worker import main; main()"
)


@dataclass(frozen=True)
class Job:
    """A clip to be scored.

    Attributes:
        clip: Its path, as its record shows it.
        transcript: Path of what is said; None for the file beside the clip.
    """

    clip: str
    transcript: str | None = None


@dataclass(frozen=True)
class Bounds:
    """How many workers there are, and what a clip may cost one.

    Attributes:
        workers: Processes; None for one per processor that this process may use.
        timeout_s: Wall time per clip, in seconds.
        memory_mb: Memory of a worker beyond that of the opened bundle, in MiB. Linux only.

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


class Crew:
    """Workers that have at most one clip each in hand; to be used in a ``with`` statement.

    A worker is started by the first clip for which none is idle, and lives on until the crew is
    closed or a clip ends it.

    Args:
        bundle: An opened bundle; each worker opens its folder anew.
        bounds: Number of workers, and what is refused.
        provider: Where graphs run.
        decode: Which frames of a video are decoded.

    Attributes:
        size: How many workers there may be.

    Raises:
        UsageError: The provider cannot be had.
        UnknownComponent: There is no such profile or provider.
    """

    def __init__(
        self,
        bundle: Bundle,
        bounds: Bounds,
        provider: Provider = "cpu",
        decode: Decode = "exact",
    ) -> None:
        check_profile(decode)
        check_provider(provider)
        self.size = bounds.workers or processors()
        self._bundle, self._bounds = bundle, bounds
        self._provider: Provider = provider
        self._decode: Decode = decode
        self._engine = Engine(provider=provider, precision=bundle.info.precision)
        self._idle: list[_Worker] = []
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

    def hand(self, number: int, job: Job) -> None:
        """Hand in a clip; only while ``free`` is above 0.

        Args:
            number: What its record is to come with.
            job: The clip.
        """
        task = (number, job)
        if self._idle:
            worker = self._idle.pop()
            worker.hand(task)
        else:
            worker = _Worker(self._bundle, self._bounds, self._provider, self._decode, task)
        self._busy.register(worker.answers, selectors.EVENT_READ, worker)

    def poll(self, patience_s: float | None = None) -> list[tuple[int, Prediction]]:
        """Wait until a worker says something; return numbers and records of clips that are done.

        Args:
            patience_s: How long to wait at most; None for as long as it takes.

        Raises:
            BundleError: A worker cannot open the bundle, or cannot be started.
        """
        done = []
        for key, _ in self._busy.select(patience_s):
            worker: _Worker = key.data
            number, job = worker.task
            try:
                record = worker.receive()
            except _Ended as end:
                self._busy.unregister(key.fileobj)
                bounds = self._bounds
                reason = loss(worker.close(_LAST_S), str(end), bounds.timeout_s, bounds.memory_mb)
                done.append((number, lost_record(self._bundle, self._engine, job.clip, reason)))
            else:
                if record is not None:
                    self._busy.unregister(key.fileobj)
                    self._idle.append(worker)
                    done.append((number, record))
        return done

    def _workers(self) -> list[_Worker]:
        return [*self._idle, *(key.data for key in self._busy.get_map().values())]


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Ended(Exception):
    """A worker has come to its end, or says what no worker says.

    Its argument is what was raised in it, if it could tell.
    """


class _Worker:
    """One process, and the clip that it has in hand.

    Args:
        bundle: What it is to open.
        bounds: What it may cost.
        provider: Where it runs graphs.
        decode: Which frames of a video it decodes.
        task: Its first clip, with its number.

    Attributes:
        task: The clip in hand, with its number.
        answers: Where it answers.
    """

    def __init__(
        self,
        bundle: Bundle,
        bounds: Bounds,
        provider: Provider,
        decode: Decode,
        task: tuple[int, Job],
    ) -> None:
        self.task = task
        self._is_ready = False
        self._said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path)],
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
                "bundle": str(bundle.folder.resolve()),
                "provider": provider,
                "decode": decode,
                "timeout_s": bounds.timeout_s,
                "memory_mb": bounds.memory_mb,
            }
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def hand(self, task: tuple[int, Job]) -> None:
        """Give it the next clip."""
        self.task = task
        _, job = task
        self._say([job.clip, job.transcript])

    def receive(self) -> Prediction | None:
        """Read what it has said; return the record of the clip in hand once it is whole.

        Raises:
            _Ended: It has ended, or what it says is no record of that clip.
            BundleError: It could not open the bundle.
        """
        heard = os.read(self.answers.fileno(), 1 << 16)
        self._said += heard
        if not heard and not self._is_ready:
            raise BundleError(f"A worker could not be started: it {ending(self.close(_LAST_S))}.")
        if not heard or len(self._said) > _MAX_ANSWER_BYTES:
            raise _Ended
        if not self._said.endswith(b"\n"):
            return None
        line, self._said = self._said, b""
        if not self._is_ready:
            if problem := json.loads(line).get("failed"):
                raise BundleError(f"A worker cannot open the bundle: {problem}")
            self._is_ready = True
            self.hand(self.task)
            return None
        try:
            message = json.loads(line)
            if "raised" in message:
                raise _Ended(message["raised"])
            record = Prediction.model_validate(message)
        except (ValueError, TypeError, RecursionError) as error:
            raise _Ended from error
        if record.clip != self.task[1].clip:
            raise _Ended
        return record

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
