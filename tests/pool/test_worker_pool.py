"""What every kind of work can rely on, shown by a toy."""

import errno
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest

from mmperson.errors import DataError, UsageError
from mmperson.pool import exit_errors
from mmperson.pool import worker_pool as pool_module
from mmperson.pool.worker_pool import WorkerLimits, WorkerPool, Workload, imap_unordered


@dataclass(frozen=True)
class Toy(Workload[object, object]):
    problem: str = ""
    allowed: int = 0
    module: ClassVar = "tests.pool.toy"

    @property
    def largest_file(self):
        return self.allowed

    @property
    def settings(self):
        return {"problem": self.problem}

    def read(self, task, answer):
        if answer["said"] == "a lie":
            raise ValueError
        assert answer["threads"] == "1"
        assert answer["at"] == self.module
        return answer["said"]

    def on_crash(self, task, error):
        return f"{task}: {error.message}"

    def on_startup_error(self, problem):
        return DataError(problem)


def test_answers_carry_their_numbers_and_prints_are_no_answers():
    found = dict(imap_unordered(Toy(), ["a", 2, None, ["b"]], WorkerLimits(workers=2)))
    assert found == {0: "a", 1: 2, 2: None, 3: ["b"]}


def test_what_is_printed_may_go_to_a_file(tmp_path):
    """A worker may write to no file, not even to the log that the user sends stderr to."""
    with (tmp_path / "log").open("wb") as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            found = dict(imap_unordered(Toy(), ["a", "b"], WorkerLimits(workers=1)))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    assert found == {0: "a", 1: "b"}


def test_a_task_that_ends_its_worker_is_lost_alone():
    found = dict(imap_unordered(Toy(), ["crash", "a", "a lie", "b"], WorkerLimits(workers=1)))
    assert "was ended by SIGABRT" in found[0]
    assert "was ended by SIGKILL" in found[2]  # by the pool, which believes it nothing more
    assert (found[1], found[3]) == ("a", "b")


def test_a_worker_writes_no_file_that_is_larger_than_the_work_allows(tmp_path):
    tasks = [{"file": str(tmp_path / str(size)), "bytes": size} for size in (100, 101)]
    small, large = dict(imap_unordered(Toy(allowed=100), tasks, WorkerLimits(workers=1))).values()
    assert small == tasks[0]
    assert "raised OSError: [Errno 27]" in large
    none = dict(imap_unordered(Toy(), tasks[:1], WorkerLimits(workers=1)))
    assert "raised OSError: [Errno 27]" in none[0]


def test_work_that_cannot_get_ready_says_why():
    with pytest.raises(DataError, match="could not be initialized: UsageError: no room"):
        list(imap_unordered(Toy("no room"), ["a"], WorkerLimits(workers=1)))


def test_workers_live_on_from_task_to_task():
    with WorkerPool(Toy(), WorkerLimits(workers=2)) as pool:
        for number in range(3):
            pool.submit(number, number)
            while pool.busy:
                for answer in pool.poll():
                    assert answer == (number, number)
        assert len(pool.pids) == 1


def test_a_worker_that_is_killed_while_it_is_idle_costs_no_task():
    with WorkerPool(Toy(), WorkerLimits(workers=1)) as pool:
        for number in range(3):
            pool.submit(number, number)
            while pool.busy:
                for answer in pool.poll():
                    assert answer == (number, number)
            (worker,) = pool.pids
            os.kill(worker, signal.SIGKILL)
            os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        assert len(pool.pids) == 1


def test_a_worker_leaves_no_core_dump():
    assert dict(imap_unordered(Toy(), ["core"], WorkerLimits(workers=1))) == {0: [0, 0]}


def test_a_worker_that_was_stopped_is_out_of_time(monkeypatch):
    monkeypatch.setattr(pool_module, "_GRACE_S", 0.2)
    tasks = ["stop", "a"]
    found = dict(imap_unordered(Toy(), tasks, WorkerLimits(workers=1, timeout_s=0.5)))
    assert found == {0: "stop: The clip took longer than 0.5 s.", 1: "a"}


def test_waiting_for_a_stopped_worker_ends_at_the_timeout():
    with WorkerPool(Toy(), WorkerLimits(workers=1, timeout_s=60.0)) as pool:
        pool.submit(0, "stop")
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + 1.0:
            assert pool.poll(0.1) == []
        assert pool.busy == 1


@pytest.fixture
def first_start(monkeypatch, tmp_path):
    """Let something happen as the first worker starts."""

    def patch(what):
        met = str(tmp_path / "met")
        doomed = f"import os, signal; os.path.exists({met!r}) or (open({met!r}, 'x'), {what}); "
        monkeypatch.setattr(pool_module, "_PROGRAM", doomed + pool_module._PROGRAM)

    return patch


@pytest.mark.slow
def test_a_worker_that_was_stopped_as_it_started_costs_one_clip(first_start, monkeypatch):
    for module in (pool_module, exit_errors):
        monkeypatch.setattr(module, "STARTUP_TIMEOUT_S", 5.0)
    monkeypatch.setattr(pool_module, "_GRACE_S", 0.2)
    first_start("os.kill(os.getpid(), signal.SIGSTOP)")
    found = dict(imap_unordered(Toy(), ["a", "b"], WorkerLimits(workers=1)))
    assert found[0] == "a: Before the clip was opened, its worker process was not ready after 5 s."
    assert found[1] == "b"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL", "SIGALRM"])
def test_a_worker_that_is_ended_as_it_starts_costs_one_clip(first_start, name):
    first_start(
        f"signal.signal(signal.SIGTERM, signal.SIG_DFL), os.kill(os.getpid(), signal.{name})"
    )
    found = dict(imap_unordered(Toy(), ["a", "b"], WorkerLimits(workers=1)))
    assert found[0].startswith("a: Before the clip was opened, its worker process was ")
    assert found[1] == "b"


def test_a_worker_that_ends_itself_as_it_starts_cannot_get_ready(first_start):
    first_start("os.abort()")
    with pytest.raises(DataError, match="SIGABRT"):
        list(imap_unordered(Toy(), ["a"], WorkerLimits(workers=1)))


@pytest.mark.slow
@pytest.mark.parametrize("said", ["7", "[]", "null", "true", "no JSON"])
def test_a_worker_that_does_not_report_ready_costs_one_clip(first_start, said):
    first_start(f"print({said!r}, flush=True)")
    first, second = dict(imap_unordered(Toy(), ["a", "b"], WorkerLimits(workers=1))).values()
    assert first.startswith("a: Before the clip was opened, its worker process was ended by SIG")
    assert second == "b"


def test_a_system_that_gives_no_room_for_workers_is_a_typed_error(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(UsageError, match=r"Too many open files\. Use fewer \(--workers"):
        list(imap_unordered(Toy(), ["a"], WorkerLimits(workers=3)))


def test_a_system_that_gives_no_thread_ends_the_worker_again(monkeypatch):
    def full(_):
        raise RuntimeError("can't start new thread")

    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[0]
    )
    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(
        UsageError, match=r"of 3 workers can be started: can't start new thread\. Use fewer"
    ):
        list(imap_unordered(Toy(), ["a"], WorkerLimits(workers=3)))
    assert started[0].returncode == -signal.SIGKILL
