"""A container limited to some processors does not start a worker for each of the host's."""

import math
import os

import pytest

from mmperson.pool import processors
from mmperson.pool.processors import cpu_count, cpu_quota


@pytest.fixture
def system(tmp_path):
    """Write the files of control groups, and return the quota that is read from them."""

    def quota(own_groups, files):
        (tmp_path / "own").write_text(own_groups)
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return cpu_quota(tmp_path / "groups", tmp_path / "own")

    return quota


def test_a_container_of_version_2_has_its_quota(system):
    assert system("0::/\n", {"cpu.max": "200000 100000\n"}) == 2.0


def test_the_lowest_quota_of_a_group_and_those_above_counts(system):
    files = {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "cpu.max": "4 1\n"}
    assert system("0::/a/b\n", files) == 1.5


def test_a_container_of_version_1_has_its_quota(system):
    own = "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n"
    files = {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert system(own, files) == 3.0


def test_without_a_quota_there_is_no_limit(system, tmp_path):
    assert system("0::/a\n", {"a/cpu.max": "max 100000\n"}) == math.inf
    assert system("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "1"}) == (
        math.inf
    )
    assert cpu_quota(tmp_path, tmp_path / "missing") == math.inf


@pytest.mark.parametrize(
    ("affinity", "quota", "count"),
    [(64, 2.0, 2), (64, 2.5, 3), (64, 0.1, 1), (1, 8.0, 1), (6, math.inf, 6)],
)
def test_workers_are_as_many_as_affinity_and_quota_allow(monkeypatch, affinity, quota, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(processors, "cpu_quota", lambda: quota)
    assert cpu_count() == count


def test_a_system_without_affinity_counts_its_processors(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(processors, "cpu_quota", lambda: math.inf)
    assert cpu_count() == os.cpu_count()
