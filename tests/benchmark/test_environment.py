import os

import pytest

import mmperson
from mmperson.benchmark import environment as module
from mmperson.benchmark import processes
from mmperson.benchmark.environment import describe_environment


def test_machine_and_versions_are_stated():
    facts = describe_environment()
    assert facts.processor
    assert 1 <= facts.usable <= facts.processors
    assert facts.versions["mmperson"] == mmperson.__version__
    assert {"python", "numpy", "av", "onnxruntime"} <= set(facts.versions)


def test_a_machine_is_busy_above_half_a_process_per_processor(monkeypatch):
    for load, busy in ((0.9, False), (1.1, True)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        monkeypatch.setattr(os, "cpu_count", lambda: 2)
        assert describe_environment().busy is busy


def test_a_tree_around_an_installation_is_no_commit_of_mmperson(monkeypatch, tmp_path):
    package = tmp_path / "site-packages" / "mmperson"
    package.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(module.mmperson, "__file__", str(package / "__init__.py"))
    assert describe_environment().commit is None


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_processes_are_read():
    here = os.getpid()
    begin = processes.cpu_s([here])
    while processes.cpu_s([here]) < begin + 0.05:
        pass
    held = bytearray(b"x" * (64 << 20))
    grown = processes.rss_mb(here)
    assert processes.peak_rss_mb(here) >= grown > len(held) / 2**20
    gone = 2**22 + 1  # beyond the largest process id
    assert processes.cpu_s([here, gone]) is None
    assert processes.rss_mb(gone) is None
