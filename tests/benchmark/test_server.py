import time
from collections import deque

import numpy as np
import pytest

from mmperson.benchmark import server
from mmperson.benchmark.latency import latency
from mmperson.benchmark.offline import worker_counts
from mmperson.benchmark.server import measure_server, probe
from mmperson.schema import Modalities, ModalityUse, Prediction

USE = ModalityUse(use="unread")


class SlowCrew:
    """One worker that takes so long per clip, in real time."""

    def __init__(self, service_s):
        self.service_s, self.size = service_s, 1
        self.hands = deque()

    @property
    def busy(self):
        return len(self.hands)

    @property
    def free(self):
        return self.size - self.busy

    def submit(self, number, job):
        assert self.free
        self.hands.append((number, job, time.perf_counter() + self.service_s))

    def poll(self, patience_s=None):
        if not self.hands:
            time.sleep(patience_s)
            return []
        number, job, done_s = self.hands[0]
        left_s = max(done_s - time.perf_counter(), 0.0)
        if patience_s is not None and patience_s < left_s:
            time.sleep(patience_s)
            return []
        time.sleep(left_s)
        self.hands.popleft()
        uses = Modalities(video=USE, audio=USE, text=USE)
        record = Prediction(
            clip=job.clip, scores=None, neuroticism=None, modalities=uses, duration_s=1.0, model="m"
        )
        return [(number, record)]


@pytest.mark.slow
def test_waiting_counts_and_a_crew_that_cannot_keep_up_is_found_out():
    pool = SlowCrew(0.02)
    calm = probe(pool, ["a"], rate_per_s=20.0, bound_s=0.2, seconds=0.5)
    assert calm.kept
    assert calm.wall.p50_s >= 0.02
    assert calm.requests == server.LEAST_REQUESTS
    # Each answer takes a tenth of the bound; only those who wait in line can miss it.
    begin = time.perf_counter()
    flood = probe(pool, ["a"], rate_per_s=200.0, bound_s=0.2, seconds=1.0)
    assert not flood.kept
    assert flood.wall is None
    assert time.perf_counter() - begin < 2.0  # 200 answers would take 4 s: it ended early
    assert not pool.busy


def test_arrivals_are_the_same_ones_at_every_rate_and_as_many_as_asked(monkeypatch):
    drawn = []
    monkeypatch.setattr(server.np, "cumsum", lambda gaps_s: drawn.append(gaps_s) or gaps_s.cumsum())
    for rate in (2000.0, 4000.0):
        probe(SlowCrew(0.0), ["a"], rate, bound_s=9.0, seconds=0.01)
        assert drawn[-1].mean() == pytest.approx(1 / rate)
    few, many = drawn
    assert len(many) == 2 * len(few)
    assert np.ptp(few / many[: len(few)]) == pytest.approx(0.0, abs=1e-9)


def test_the_highest_rate_is_found_by_bisection(monkeypatch):
    wall = latency([0.1])

    def ideal(pool, clips, rate, bound_s, seconds):
        kept = rate <= 13.0
        return server.Probe(rate, 20, kept, wall if kept else None)

    monkeypatch.setattr(server, "probe", ideal)
    monkeypatch.setattr(server, "warm_up", lambda *_: None)
    found = measure_server(SlowCrew(0.0), ["a"], 1.0, 40.0, 1.0)
    assert 13.0 - 40.0 / 2**server.PROBES <= found.rate_per_s <= 13.0
    assert found.wall == wall
    assert len(found.probes) == server.PROBES
    monkeypatch.setattr(server, "probe", lambda *_: server.Probe(1.0, 20, False, None))
    assert measure_server(SlowCrew(0.0), ["a"], 1.0, 40.0, 1.0).rate_per_s is None


def test_quantiles_are_times_that_were_measured():
    times = [number / 100 for number in range(1, 101)]
    found = latency(times[::-1])
    assert (found.p50_s, found.p95_s, found.p99_s) == (0.5, 0.95, 0.99)


def test_workers_double_up_to_the_most():
    assert [worker_counts(most) for most in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]
