"""Ways to interrupt a command, and what has to hold afterwards."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmperson.datasets.cache import SPEC_FILE
from mmperson.models.checkpoint import read_tensors
from mmperson.pool.worker import SINGLE_THREAD_ENV
from tests.stress.memory_group import MemoryGroup
from tests.stress.subjects import Subject

# A server that has torch imported starts the commands: else most kills would meet an import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mmperson.cli.app", "mmperson.training", "pyarrow.parquet"])
MARK = "MMPERSON_INTERRUPTED"
"""Variable of the environment by which a command's workers are found."""
RUST_MESSAGE = "memory allocation of"
RUST_ABORTED = "SIGABRT of a library in Rust that was refused memory"


def warm_up() -> None:
    """Start the server, so that no time is counted for it."""
    os.environ.update(SINGLE_THREAD_ENV)
    process = PROCESSES.Process(target=int)
    process.start()
    process.join()


@dataclass
class Running:
    """A command in a process of its own, and its stderr once it has ended."""

    process: Any
    stderr: str = ""

    def finish(self) -> None:
        """Let it end.

        Raises:
            RuntimeError: It failed.
        """
        self.process.join()
        if self.process.exitcode:
            raise RuntimeError(f"A command ended with exit code {self.process.exitcode}.")

    @property
    def ending(self) -> str:
        """Its exit code, with the name of the error that it printed, or the signal that ended it.

        Libraries in Rust, such as tokenizers, abort when an allocation fails: no error is raised.
        """
        code = self.process.exitcode
        if code < 0:
            name = signal.Signals(-code).name
            return RUST_ABORTED if name == "SIGABRT" and RUST_MESSAGE in self.stderr else name
        last = self.stderr.strip().splitlines()[-1:]
        return f"{code} {last[0].split(':')[0] if last and code else 'done'}"


@contextmanager
def command(
    subject: Subject,
    folder: Path,
    limits: Mapping[int, int] | None = None,
    group: MemoryGroup | None = None,
) -> Iterator[Running]:
    """Run a subject's command in a folder; it is over when this ends."""
    folder.mkdir(parents=True, exist_ok=True)
    receiver, sender = PROCESSES.Pipe(duplex=False)
    arguments = (subject.arguments(folder), sender, str(folder), dict(limits or {}), group)
    process = PROCESSES.Process(target=_run, args=arguments)
    process.start()
    sender.close()
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.join()
        os.set_blocking(receiver.fileno(), False)  # workers may still hold the other end
        with suppress(BlockingIOError):
            running.stderr = os.read(receiver.fileno(), 1 << 16).decode(errors="replace")
        receiver.close()


def _run(
    arguments: list[str],
    sender: Connection,
    mark: str,
    limits: dict[int, int],
    group: MemoryGroup | None,
) -> None:
    """Run the program in this process."""
    from mmperson.cli.app import main

    if group:
        group.add(os.getpid())
    os.dup2(sender.fileno(), 2)
    os.environ[MARK] = mark
    for limit, value in limits.items():
        if limit == resource.RLIMIT_AS:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            value += pages * resource.getpagesize()
        resource.setrlimit(limit, (value, value))
    sys.argv = ["mmperson", *arguments]
    main()


class Reference(NamedTuple):
    """How long the work takes without interruption, and what it leaves.

    Attributes:
        seconds: Wall time.
        result: What it leaves, by name.
        sizes: Bytes of each file in its folder.
    """

    seconds: float
    result: dict[str, bytes]
    sizes: list[int]


def run_uninterrupted(subject: Subject, folder: Path) -> Reference:
    """Do the work once."""
    warm_up()
    begun = time.monotonic()
    with command(subject, folder) as running:
        running.finish()
    seconds = time.monotonic() - begun
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Reference(seconds, subject.result(folder), sizes)


def unfinished_files(folder: Path) -> list[Path]:
    """Return what a kill has left that nobody reads."""
    return [path for path in folder.rglob(".*") if path.is_file()]


def corrupt_files(folder: Path) -> Iterator[str]:
    """Yield the files that cannot be read, apart from unfinished ones."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if path.suffix == ".npy":
                np.load(path, allow_pickle=False)
            elif path.suffix == ".safetensors":
                read_tensors(path)
            elif path.name == SPEC_FILE and len(path.read_text(encoding="ascii")) != 64:
                raise ValueError("too short")
        except Exception as error:
            yield f"{path.name}: {error}"


def workers_of(folder: Path) -> list[int]:
    """Return the processes that a command in a folder has started and left."""
    wanted = f"{MARK}={folder}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def workers_ended(folder: Path, patience_s: float = 10.0) -> bool:
    """Wait until no worker is left; they end with the clip in hand."""
    until = time.monotonic() + patience_s
    while workers_of(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def opened_bundle(process: int) -> bool:
    """Return whether a worker has opened the bundle: it may write no file any more."""
    try:
        return resource.prlimit(process, resource.RLIMIT_FSIZE) == (0, 0)
    except ProcessLookupError:
        return False


def mount(folder: Path, options: str) -> bool:
    """Mount a disk in memory; return whether this process may."""
    call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(call, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@dataclass
class Findings:
    """What was seen over many interruptions.

    Attributes:
        endings: How often a command ended in which way.
        stages: How far it had come.
        lost: Steps or clips to be done again, after each interruption.
        corrupt: Files that could not be read.
        gone: What stood before an interruption, and not after it.
        unfinished: Most unfinished files that lay there at a time.
        left: Unfinished files that were there in the end.
        orphans: Workers that outlived the command by ten seconds.
        differences: What differed from the uninterrupted result.
        runs: How often the work was brought to its end.
    """

    endings: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unfinished: int = 0
    left: list[str] = field(default_factory=list)
    orphans: int = 0
    differences: list[str] = field(default_factory=list)
    runs: int = 0

    def note(self, subject: Subject, run: Path, before: Mapping[str, bytes]) -> dict[str, bytes]:
        """Look at a folder after an interruption; return what stands in it."""
        self.corrupt += list(corrupt_files(run))
        self.unfinished = max(self.unfinished, len(unfinished_files(run)))
        self.orphans += not workers_ended(run)
        self.stages[subject.stage(run)] += 1
        self.lost.append(subject.lost(run))
        now = subject.standing(run)
        self.gone += [f"{run.name}: {name}" for name in before if now.get(name) != before[name]]
        return now

    def compare(self, subject: Subject, run: Path, wanted: Mapping[str, bytes]) -> None:
        """Compare what a command has left in the end with what it should leave."""
        found = subject.result(run)
        names = sorted(wanted.keys() | found.keys())
        self.differences += [
            f"{run.name}: {name}" for name in names if wanted.get(name) != found.get(name)
        ]
        self.left += [path.name for path in unfinished_files(run)]
        self.runs += 1

    @property
    def faults(self) -> list[str]:
        """What should not have been."""
        orphans = [f"{self.orphans} orphans"] if self.orphans else []
        return self.corrupt + self.gone + self.left + self.differences + orphans

    def to_dict(self) -> dict[str, Any]:
        """Return what a result file states."""
        lost = {str(count): self.lost.count(count) for count in sorted(set(self.lost))}
        return {
            "interruptions": sum(self.stages.values()),
            "endings": dict(self.endings),
            "stages": dict(self.stages),
            "lost": lost,
            "runs": self.runs,
            "most_unfinished_files": self.unfinished,
            "orphans": self.orphans,
            "corrupt": self.corrupt,
            "gone": self.gone,
            "left": self.left,
            "differences": self.differences,
        }
