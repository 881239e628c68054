"""The loop of a worker, run in this process with all that would change the process recorded."""

import io
import json
import os
import resource
import signal
import sys
import types
from dataclasses import dataclass, field

import pytest

from mmperson.errors import UsageError
from mmperson.pool import worker

SETTINGS = {"workload": {}, "memory_mb": 100.0, "largest_file": 7, "timeout_s": 5.0}


class Exited(BaseException):
    """Stands for the end of the process."""


@dataclass
class Process:
    """What a worker did to its process, and what it answered."""

    timers: list[float] = field(default_factory=list)
    limits: dict[int, tuple[int, int]] = field(default_factory=dict)
    copied: list[tuple[int, int]] = field(default_factory=list)
    answers: list[dict[str, object]] = field(default_factory=list)


@pytest.fixture
def process(monkeypatch):
    process = Process()

    def leave(code):
        raise Exited(code)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: process.timers.append(seconds))
    monkeypatch.setattr(resource, "setrlimit", process.limits.__setitem__)
    return process


@pytest.fixture
def serve(process, monkeypatch):
    """Run a worker whose tasks are done by a function."""

    def run(act, *tasks):
        initialize = act if act is refuse else lambda settings: act
        workload = types.SimpleNamespace(initialize=initialize)
        monkeypatch.setitem(sys.modules, "workload", workload)
        lines = b"".join(json.dumps(line).encode() + b"\n" for line in (SETTINGS, *tasks))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        reading, writing = os.pipe()
        try:
            with monkeypatch.context() as patch:  # pytest itself copies descriptors at other times
                patch.setattr(os, "dup", lambda _: writing)
                patch.setattr(os, "dup2", lambda old, new: process.copied.append((old, new)))
                worker.serve("workload")
        finally:
            os.close(writing)
            with os.fdopen(reading, "rb") as answers:
                process.answers.extend(map(json.loads, answers))

    return run


def refuse(settings):
    raise UsageError("no room")


def double(task):
    return {"twice": 2 * task}


def test_each_task_is_answered_under_its_own_timer(serve, process):
    serve(double, 1, 2)
    assert process.answers == [{"ready": True}, {"twice": 2}, {"twice": 4}]
    assert process.timers == [worker.STARTUP_TIMEOUT_S, 0, 5.0, 0, 5.0, 0]


def test_the_process_is_limited_before_it_takes_a_task(serve, process):
    before = {}
    serve(lambda task: before.update(process.limits) or {}, 1)
    assert before[resource.RLIMIT_CORE] == (0, 0)
    assert before[resource.RLIMIT_FSIZE] == (7, 7)
    used = int(worker._SIZE.read_text().split()[0]) * resource.getpagesize()
    limit, hardest = before[resource.RLIMIT_AS]
    assert limit == hardest == pytest.approx(used + 100 * 2**20, rel=0.05)


def test_a_lower_limit_of_the_system_stays(serve, process, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3, 3))
    serve(double)
    assert process.limits[resource.RLIMIT_FSIZE] == (3, 3)
    assert process.limits[resource.RLIMIT_AS] == (3, 3)


def test_work_that_cannot_start_says_so_and_does_nothing(serve, process):
    serve(refuse, 1)
    assert process.answers == [{"failed": "UsageError: no room"}]
    assert process.limits == {}


def test_a_task_that_raises_ends_the_worker(serve, process):
    serve(lambda task: 1 // task, 0, 1)
    (_, answer) = process.answers
    assert answer["raised"].startswith("ZeroDivisionError: ")


def test_a_worker_without_memory_ends_with_a_code_of_its_own(serve, process):
    def hungry(task):
        raise MemoryError

    with pytest.raises(Exited) as ended:
        serve(hungry, 1)
    assert ended.value.args == (worker.OUT_OF_MEMORY,)
    assert process.answers == [{"ready": True}]


def test_a_worker_that_nobody_reads_ends(process):
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(Exited) as ended:
        worker._answer(writing, {"ready": True})
    os.close(writing)
    assert ended.value.args == (0,)


@pytest.mark.parametrize(("is_file", "dropped"), [(True, {1, 2}), (False, set())])
def test_a_log_that_may_not_grow_is_written_no_more(
    serve, process, monkeypatch, tmp_path, is_file, dropped
):
    log = (tmp_path / "log").stat if is_file else (lambda: os.stat(os.devnull))
    (tmp_path / "log").touch()
    monkeypatch.setattr(os, "fstat", lambda _: log())
    serve(double)
    assert process.copied[0] == (2, 1)
    assert {new for _, new in process.copied[1:]} == dropped
