"""Ways to end a command before its time, and what has to hold afterwards; for crash_safety.py."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from mmperson.data.cache import SPEC_FILE
from mmperson.models.checkpoint import read_tensors
from mmperson.runtime.worker import ONE_THREAD

# A server that has torch imported starts the commands: else most kills would meet an import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mmperson.cli.app", "mmperson.training"])
MARK = "MMPERSON_INTERRUPTED"
"""Variable of the environment by which a command's workers are found."""


@dataclass(frozen=True)
class Subject:
    """A command that goes on where it was interrupted.

    Attributes:
        arguments: Of ``mmperson``, to do the work in a folder.
        result: What it leaves there in the end, by name; must not depend on interruptions.
        standing: What is done for good, by name; must stay as it is.
        lost: How much of what was done has to be done again.
        stage: How far it has come, in a word.
    """

    arguments: Callable[[Path], list[str]]
    result: Callable[[Path], dict[str, bytes]]
    standing: Callable[[Path], dict[str, bytes]]
    lost: Callable[[Path], int]
    stage: Callable[[Path], str]


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


def uninterrupted(subject: Subject, folder: Path) -> tuple[float, dict[str, bytes]]:
    """Do the work once; return how many seconds it took, and its result."""
    os.environ.update(ONE_THREAD)
    warm = PROCESSES.Process(target=int)
    warm.start()
    warm.join()
    begun = time.monotonic()
    with command(subject, folder) as running:
        running.finish()
    return time.monotonic() - begun, subject.result(folder)


def kill_often(subject: Subject, folder: Path, kills: int, seed: int) -> Findings:
    """Kill a command at random moments, start it again until it ends, and so on.

    A moment is drawn evenly over the time that the work takes without kills.

    Raises:
        RuntimeError: The command failed after a kill.
    """
    random = np.random.default_rng(seed)
    length, wanted = uninterrupted(subject, folder / "whole")
    findings = Findings()
    while len(findings.lost) < kills:
        run = folder / f"killed-{findings.runs}"
        before: dict[str, bytes] = {}
        while len(findings.lost) < kills:
            with command(subject, run) as running:
                running.process.join(random.uniform(0, length))
                running.process.kill()
                running.process.join()
            if running.process.exitcode == 0:
                break
            if running.process.exitcode != -signal.SIGKILL:
                raise RuntimeError(f"{run}: exit code {running.process.exitcode}: {running.said}")
            findings.endings["SIGKILL"] += 1
            before = findings.note(subject, run, before)
        else:
            with command(subject, run) as running:
                running.finish()
        findings.compare(subject, run, wanted)
    return findings


def limit_often(
    subject: Subject, folder: Path, limit: int, span: tuple[float, float], tries: int, seed: int
) -> Findings:
    """Do the work under limits, then without one.

    Args:
        subject: The work.
        folder: Where it is done.
        limit: RLIMIT_FSIZE, bytes of a file; or RLIMIT_AS, bytes beyond what an idle process has.
        span: Limits are drawn from the first to the second, evenly on a logarithmic scale.
        tries: How many limits.
        seed: Of the limits.
    """
    random = np.random.default_rng(seed)
    _, wanted = uninterrupted(subject, folder / "whole")
    findings = Findings()
    for number in range(tries):
        run = folder / f"limited-{number}"
        with command(subject, run, {limit: int(np.exp(random.uniform(*np.log(span))))}) as running:
            running.process.join()
        _go_on(subject, run, running, findings, wanted)
    return findings


def fill_often(subject: Subject, folder: Path, tries: int, seed: int) -> Findings | None:
    """Do the work on full disks, then with room; None where no such disk can be mounted."""
    random = np.random.default_rng(seed)
    _, wanted = uninterrupted(subject, folder / "whole")
    most = sum(path.stat().st_size for path in (folder / "whole").rglob("*") if path.is_file())
    findings = Findings()
    for number in range(tries):
        disk = folder / f"disk-{number}"
        disk.mkdir()
        size = int(most * random.uniform(0, 1.2)) + 4096
        if not _mount(disk, f"size={size}"):
            return None
        try:
            with command(subject, disk / "run") as running:
                running.process.join()
            _mount(disk, "remount,size=1g")
            _go_on(subject, disk / "run", running, findings, wanted)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return findings


def _go_on(
    subject: Subject, run: Path, running: Running, findings: Findings, wanted: Mapping[str, bytes]
) -> None:
    """Note how a command ended that lacked something, and let it end as it should."""
    findings.endings[running.ending] += 1
    findings.note(subject, run, {})
    if running.process.exitcode not in (0, 2, 3) or "Traceback" in running.said:
        findings.differences.append(f"{run.name}: {running.ending}: {running.said[-300:]}")
    with command(subject, run) as again:
        again.finish()
    findings.compare(subject, run, wanted)


@dataclass
class Running:
    """A command in a process of its own, and what it has said once it has ended."""

    process: Any
    said: str = ""

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
        """Its exit code, with the name of the error that it told of."""
        last = self.said.strip().splitlines()[-1:]
        error = last[0].split(":")[0] if last and self.process.exitcode else "done"
        return f"{self.process.exitcode} {error}"


@contextmanager
def command(
    subject: Subject, folder: Path, limits: Mapping[int, int] | None = None
) -> Iterator[Running]:
    """Run a subject's command in a folder; it is over when this ends."""
    folder.mkdir(parents=True, exist_ok=True)
    ear, mouth = PROCESSES.Pipe(duplex=False)
    arguments = (subject.arguments(folder), mouth, str(folder), dict(limits or {}))
    process = PROCESSES.Process(target=_run, args=arguments)
    process.start()
    mouth.close()
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.join()
        os.set_blocking(ear.fileno(), False)  # workers may still hold the other end
        with suppress(BlockingIOError):
            running.said = os.read(ear.fileno(), 1 << 16).decode(errors="replace")
        ear.close()


def _run(arguments: list[str], mouth: Connection, mark: str, limits: dict[int, int]) -> None:
    """Run the program in this process."""
    from mmperson.cli.app import main

    os.dup2(mouth.fileno(), 2)
    os.environ[MARK] = mark
    for limit, value in limits.items():
        if limit == resource.RLIMIT_AS:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            value += pages * resource.getpagesize()
        resource.setrlimit(limit, (value, value))
    sys.argv = ["mmperson", *arguments]
    main()


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


def _mount(folder: Path, options: str) -> bool:
    call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(call, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
