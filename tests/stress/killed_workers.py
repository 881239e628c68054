"""Kill workers of ``mmperson predict``: each must cost its clip alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import numpy as np

from tests.stress.interruptions import (
    Findings,
    Reference,
    command,
    opened_bundle,
    workers_of,
)
from tests.stress.memory_group import SLACK_BYTES, MemoryGroup, memory_group
from tests.stress.subjects import Subject

_MOST_RUNS = 20
"""Runs per kill after which no more are tried: a kernel that has swap, say, kills nobody."""


class SignalKiller:
    """Kills by SIGKILL, and how many there were."""

    kills = 0

    def add(self, process: int) -> None:
        """Kill a process."""
        os.kill(process, signal.SIGKILL)
        self.kills += 1


def kill_workers(
    subject: Subject, reference: Reference, folder: Path, kills: int, seed: int
) -> Findings:
    """Kill workers of ``predict`` while they score; each must cost its clip alone."""
    return _kill_while_scoring(
        subject, reference, folder, kills, seed, lambda: nullcontext(SignalKiller())
    )


def kill_workers_by_memory(
    subject: Subject, reference: Reference, folder: Path, kills: int, seed: int
) -> Findings | None:
    """Allow workers of ``predict`` ``SLACK_BYTES`` bytes more, for which the kernel kills them.

    Returns:
        None where this system cannot. The command itself is not in the group.
    """
    with memory_group() as group:
        if group is None:
            return None
    return _kill_while_scoring(
        subject, reference, folder, kills, seed, lambda: memory_group(SLACK_BYTES)
    )


def _kill_while_scoring(
    subject: Subject,
    reference: Reference,
    folder: Path,
    kills: int,
    seed: int,
    killing: Callable[[], AbstractContextManager[SignalKiller | MemoryGroup]],
) -> Findings:
    random = np.random.default_rng(seed)
    findings = Findings()
    killed = 0
    while killed < kills:
        if findings.runs == _MOST_RUNS * kills:
            findings.differences.append(f"{killed} of {kills} kills in {findings.runs} runs")
            break
        run = folder / f"killed-{findings.runs}"
        with killing() as killer, command(subject, run) as running:
            while running.process.exitcode is None and killed + killer.kills < kills:
                time.sleep(random.uniform(0, reference.seconds / 8))
                able = [p for p in workers_of(run) if opened_bundle(p)]
                if able:
                    with suppress(ProcessLookupError):  # it has just ended by itself
                        killer.add(int(random.choice(able)))
            running.process.join()
            here = killer.kills
        killed += here
        findings.endings[running.ending.split()[0]] += 1
        failed, clips = subject.failed(run), len(subject.standing(run))
        scored = running.process.exitcode in (0, 1) and clips == len(reference.result)
        if not scored or failed > here:
            findings.differences.append(f"{run.name}: {here} kills, {failed} failed clips")
        findings.lost.append(failed)
        findings.stages["workers killed"] += here
        with command(subject, run) as running:
            running.finish()
        findings.compare(subject, run, reference.result)
    return findings
