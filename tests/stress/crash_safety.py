"""Kill work at random moments, and show that it ends in the same bits all the same.

    python -m tests.stress crash-safety --kills 200

Small works of ``mmperson train``, ``data cache`` and ``predict`` are done once undisturbed.
Then each is done over and over: killed (SIGKILL) at random moments and started again; with too
small a limit on files and, where it can be mounted, on a full disk, then with room; with so little
memory that the kernel kills, where control groups can be made; and training in too small an address
space. After every interruption all files are read; what was done must stand, and in the end there
must be the same bits. Workers of ``predict`` are killed, too, by SIGKILL and for want of memory:
each costs its clip.

The commands start from a process that has torch imported, so that kills meet work and not imports.
Workers are looked for in /proc, and memory is limited, on Linux alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmperson.inference.bundle import DEFAULT_BUNDLE
from tests.stress.interruptions import (
    RUST_ABORTED,
    Findings,
    Reference,
    Running,
    command,
    mount,
    run_uninterrupted,
)
from tests.stress.killed_workers import kill_workers, kill_workers_by_memory
from tests.stress.memory_group import SLACK_BYTES, memory_group
from tests.stress.results import describe_run, write_result
from tests.stress.subjects import (
    Subject,
    caching,
    make_caching,
    make_sounds,
    make_training,
    predicting,
    training,
)


def kill_repeatedly(
    subject: Subject, reference: Reference, folder: Path, kills: int, seed: int
) -> Findings:
    """Kill a command at random moments, start it again until it ends, and so on.

    A moment is drawn evenly over the time that the work takes without kills.

    Raises:
        RuntimeError: The command failed after a kill.
    """
    random = np.random.default_rng(seed)
    findings = Findings()
    while len(findings.lost) < kills:
        run = folder / f"killed-{findings.runs}"
        before: dict[str, bytes] = {}
        while len(findings.lost) < kills:
            with command(subject, run) as running:
                running.process.join(random.uniform(0, reference.seconds))
                running.process.kill()
                running.process.join()
            if running.process.exitcode == 0:
                break
            if running.process.exitcode != -signal.SIGKILL:
                raise RuntimeError(f"{run}: exit code {running.process.exitcode}: {running.stderr}")
            findings.endings["SIGKILL"] += 1
            before = findings.note(subject, run, before)
        else:
            with command(subject, run) as running:
                running.finish()
        findings.compare(subject, run, reference.result)
    return findings


def run_under_limits(
    subject: Subject,
    reference: Reference,
    folder: Path,
    limit: int,
    span: tuple[float, float],
    tries: int,
    seed: int,
) -> Findings:
    """Do the work under limits, then without one.

    Args:
        subject: The work.
        reference: What it leaves.
        folder: Where it is done.
        limit: RLIMIT_FSIZE, bytes of a file; or RLIMIT_AS, bytes beyond what an idle process has.
        span: Limits are drawn from the first to the second, evenly on a logarithmic scale.
        tries: How many limits.
        seed: Of the limits.
    """
    random = np.random.default_rng(seed)
    findings = Findings()
    for number in range(tries):
        run = folder / f"limited-{number}"
        with command(subject, run, {limit: int(np.exp(random.uniform(*np.log(span))))}) as running:
            running.process.join()
        _resume(subject, reference, run, running, findings)
    return findings


def run_on_full_disks(
    subject: Subject, reference: Reference, folder: Path, tries: int, seed: int
) -> Findings | None:
    """Do the work on full disks, then with room; None where no such disk can be mounted."""
    random = np.random.default_rng(seed)
    findings = Findings()
    for number in range(tries):
        disk = folder / f"disk-{number}"
        disk.mkdir(parents=True)
        size = int(sum(reference.sizes) * random.uniform()) + 4096
        if not mount(disk, f"size={size}"):
            return None
        try:
            with command(subject, disk / "run") as running:
                running.process.join()
            mount(disk, "remount,size=1g")
            _resume(subject, reference, disk / "run", running, findings)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return findings


def _resume(
    subject: Subject, reference: Reference, run: Path, running: Running, findings: Findings
) -> None:
    """Note how a command ended that lacked something, and let it end as it should."""
    findings.endings[running.ending] += 1
    findings.note(subject, run, {})
    ended = running.process.exitcode in (0, 2, 3) or running.ending == RUST_ABORTED
    if not ended or "Traceback" in running.stderr:
        findings.differences.append(f"{run.name}: {running.ending}: {running.stderr[-300:]}")
    with command(subject, run) as again:
        again.finish()
    findings.compare(subject, run, reference.result)


def run_in_little_memory(
    subject: Subject, reference: Reference, folder: Path, tries: int, seed: int
) -> Findings | None:
    """Do the work in so little memory that the kernel kills, then with all; None where it cannot.

    One half is short of memory from the start: limits are drawn evenly between what an idle process
    of the program needs and what the work needs. The other half gets ``SLACK_BYTES`` more from a
    random moment on. The kernel may choose the command, or a worker, which must cost its clip
    alone.
    """
    random = np.random.default_rng(seed)
    findings = Findings()
    span = []
    for arguments in (lambda _: ["--version"], subject.arguments):
        with memory_group() as group:
            if group is None:
                return None
            with command(replace(subject, arguments=arguments), folder / "peak", None, group) as it:
                it.process.join()
            span.append(group.peak_bytes)
    for number in range(tries):
        run = folder / f"starved-{number}"
        limit, moment = int(random.uniform(*span)), random.uniform(0, reference.seconds)
        late = number % 2 == 1
        with memory_group(SLACK_BYTES if late else limit) as group:
            with command(subject, run, None, None if late else group) as running:
                if late:
                    running.process.join(moment)
                    with suppress(ProcessLookupError):  # it has just ended by itself
                        group.add(running.process.pid)
                running.process.join()
            kills = group.kills
        findings.endings[f"{running.ending}, {kills} killed by the kernel"] += 1
        findings.note(subject, run, {})
        if findings.lost[-1] > 1 or subject.failed(run) > kills or "Traceback" in running.stderr:
            findings.differences.append(f"{run.name}: {running.ending}: {running.stderr[-300:]}")
        with command(subject, run) as again:
            again.finish()
        findings.compare(subject, run, reference.result)
    return findings


def measure(folder: Path, kills: int, seed: int) -> dict[str, Findings | None]:
    """Interrupt every work in every way; None for a way that this system does not have.

    Args:
        folder: Where all is done.
        kills: Of the three commands, and of workers, a quarter each, and as many of workers again
            for want of memory.
        seed: Of the moments and limits.
    """
    subjects = {
        "train": training(make_training(folder), folder),
        "cache": caching(make_caching(folder), folder),
        "predict": predicting(make_sounds(folder), DEFAULT_BUNDLE),
    }
    tries, kills = max(2, kills // 50), kills // 4
    found: dict[str, Findings | None] = {}

    def add(name: str, findings: Findings | None) -> None:
        found[name] = findings
        print(name, json.dumps(findings and findings.to_dict()), flush=True)

    for name, subject in subjects.items():
        place = folder / name
        reference = run_uninterrupted(subject, place / "reference")
        add(f"{name}, killed", kill_repeatedly(subject, reference, place / "kill", kills, seed))
        files = (resource.RLIMIT_FSIZE, (1, max(reference.sizes)), tries, seed)
        add(f"{name}, small files", run_under_limits(subject, reference, place / "limit", *files))
        add(
            f"{name}, full disk", run_on_full_disks(subject, reference, place / "full", tries, seed)
        )
        add(
            f"{name}, killed for memory",
            run_in_little_memory(subject, reference, place / "oom", 2 * tries, seed),
        )
        if name == "train":
            memory = (resource.RLIMIT_AS, (1 << 24, 1 << 28), tries, seed)
            add(
                "train, no address space",
                run_under_limits(subject, reference, place / "memory", *memory),
            )
        if name == "predict":
            killed = kill_workers(subject, reference, place / "thin", kills, seed)
            add("predict, workers killed", killed)
            by_memory = kill_workers_by_memory(subject, reference, place / "starve", kills, seed)
            add("predict, workers killed for memory", by_memory)
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure and write the result file; exit code 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress crash-safety", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print, and write no result file")
    given = parser.parse_args(arguments)
    facts = {} if given.dry else describe_run(("torch", "safetensors"))
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary), given.kills, given.seed)
    if not given.dry:
        figures = {name: findings and findings.to_dict() for name, findings in found.items()}
        write_result("crash-safety", facts, {"seed": given.seed, "subjects": figures})
    if any(findings and findings.faults for findings in found.values()):
        raise SystemExit(1)
