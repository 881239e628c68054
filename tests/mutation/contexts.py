"""pytest plugin: tells coverage which test runs, and writes how long each took."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

_SECONDS: dict[str, float] = {}
_FAILING: set[str] = set()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    measured = coverage.Coverage.current()
    assert measured is not None, "run pytest under coverage"
    measured.switch_context(item.nodeid)
    start = time.perf_counter()
    yield
    _SECONDS[item.nodeid] = time.perf_counter() - start
    measured.switch_context("")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _FAILING.add(report.nodeid)


def pytest_sessionfinish() -> None:
    found = {"seconds": _SECONDS, "failing": sorted(_FAILING)}
    Path(os.environ["TEST_SECONDS"]).write_text(json.dumps(found), encoding="utf-8")
