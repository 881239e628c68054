import os

import pytest

from mmperson.benchmark import cold_start, memory_growth, offline, scenarios, server
from mmperson.benchmark.facts import bundle_facts
from mmperson.benchmark.memory_growth import measure_memory_growth
from mmperson.benchmark.scenarios import measure
from mmperson.errors import MMPersonError, UnknownComponent, UsageError
from mmperson.inference.bundle import open_bundle
from mmperson.inference.scoring import ScoringWorkload
from mmperson.pool.worker_pool import WorkerLimits, WorkerPool
from mmperson.schema import Scores
from tests.fixtures.media import write_clip


@pytest.fixture
def short_clip(tmp_path):
    return str(write_clip(tmp_path / "short.mp4", duration_s=0.6))


@pytest.mark.slow
def test_every_scenario_is_measured(tiny_bundle, short_clip, monkeypatch):
    monkeypatch.setattr(server, "PROBES", 2)
    monkeypatch.setattr(server, "LEAST_REQUESTS", 5)
    monkeypatch.setattr(cold_start, "RUNS", 1)
    told = []
    bundle = open_bundle(tiny_bundle)
    report = measure(
        bundle, [short_clip], workers=2, seconds=0.2, bound_s=30.0, on_stage=told.append
    )
    assert [line.split()[0] for line in told] == [
        "Warming",
        "Single",
        "Offline,",
        "Server,",
        "Cold",
    ]
    assert report.bundle.reads == ("audio", "text")
    assert report.bundle.frames == 0
    assert report.bundle.sound_s == 7.0
    assert report.bundle.quality == {}  # it was never judged
    (clip,) = report.clips
    assert (clip.width, clip.height, clip.used) == (64, 48, ("audio",))
    single = report.single
    assert 0 < single.wall.p50_s <= single.wall.p95_s <= single.wall.p99_s
    assert 0 < sum(single.stages_s.values()) <= 1.01 * single.mean_s
    assert single.times_real_time == pytest.approx(clip.duration_s / single.mean_s, rel=0.02)
    assert [rate.workers for rate in report.offline] == [1, 2]
    assert all(rate.scored % rate.workers == 0 for rate in report.offline)
    assert report.offline[0].scaling == 1.0
    assert report.server.rate_per_s > 0
    assert report.server.bound_s == 30.0
    assert report.cold.process_s > report.cold.import_s > 0
    assert report.to_dict()["offline"][1]["clips_per_s"] > 0
    assert report.drift is None


def test_the_quality_of_a_bundle_stands_beside_its_speed():
    facts = bundle_facts(open_bundle())
    assert facts.quality["validation, unseen"]["n"] == 326
    assert 0.88 < facts.quality["validation, unseen"]["accuracy"] < 0.91
    assert facts.precision["encoder_text"] == "int8"


def test_only_what_was_asked_for_is_measured(tiny_bundle, short_clip):
    report = measure(open_bundle(tiny_bundle), [short_clip], ("single",), seconds=0.05)
    assert report.single is not None
    assert report.offline is report.server is report.cold is None


def test_scores_that_change_are_found_out(tiny_bundle, short_clip):
    other = Scores(**dict.fromkeys(Scores.model_fields, 0.5))
    with (
        WorkerPool(ScoringWorkload(open_bundle(tiny_bundle)), WorkerLimits(1)) as pool,
        pytest.raises(MMPersonError, match="has changed scores"),
    ):
        offline._score(pool, [short_clip], 0.01, {short_clip: other})


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_memory_is_watched_over_many_clips(tiny_bundle, short_clip):
    drift = measure_memory_growth(open_bundle(tiny_bundle), short_clip, "cpu", "exact", 20)
    assert drift.scored == 20
    assert drift.first_mb > 20
    assert abs(drift.growth) < 0.1


class Asked(Exception):
    """Somebody wants workers."""


@pytest.mark.parametrize(
    ("room", "wanted"),
    [(offline, {"scenarios": ("offline",)}), (scenarios, {"scenarios": ("server",)}),
     (memory_growth, {"scenarios": (), "repeat": 1})],
)  # fmt: skip
def test_workers_of_every_scenario_get_the_memory_that_was_asked_for(
    room, wanted, tiny_bundle, short_clip, monkeypatch
):
    def ask(work, limits):
        raise Asked(limits.workers, limits.memory_mb)

    monkeypatch.setattr(room, "WorkerPool", ask)
    with pytest.raises(Asked) as found:
        measure(open_bundle(tiny_bundle), [short_clip], **wanted, workers=1, memory_mb=70_000.0,
                seconds=0.01)  # fmt: skip
    assert found.value.args == (1, 70_000.0)


def test_what_cannot_be_measured_is_refused(tiny_bundle, short_clip, tmp_path):
    bundle = open_bundle(tiny_bundle)
    for wrong, message in (
        ({"seconds": 0.0}, "time is 0 s"),
        ({"seconds": float("nan")}, "time is nan s"),
        ({"bound_s": -1.0}, "bound is -1 s"),
        ({"repeat": -1}, "memory is -1"),
        ({"workers": 0}, "number of workers is 0"),
        ({"memory_mb": 1.0}, r"memory of a worker is 1.0 MB"),
    ):
        with pytest.raises(UsageError, match=message):
            measure(bundle, [short_clip], **wrong)
    with pytest.raises(UnknownComponent, match="no scenario called 'singel'"):
        measure(bundle, [short_clip], ("singel",))
    with pytest.raises(UsageError, match=r"none.mp4' cannot be scored"):
        measure(bundle, [str(tmp_path / "none.mp4")])
    with pytest.raises(UsageError, match="There is no clip"):
        measure(bundle, [])
