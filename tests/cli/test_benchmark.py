import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mmperson.benchmark import scenarios as module
from mmperson.benchmark.cold_start import ColdStart
from mmperson.benchmark.latency import latency
from mmperson.benchmark.memory_growth import MemoryGrowth
from mmperson.benchmark.offline import Throughput
from mmperson.benchmark.server import Probe, Server
from mmperson.cli.app import app
from mmperson.cli.benchmark_table import print_report
from mmperson.errors import UsageError
from mmperson.inference.bundle import open_bundle


@pytest.fixture
def run(tiny_bundle):
    def invoke(*arguments):
        command = ["benchmark", "--bundle", str(tiny_bundle), *map(str, arguments)]
        return CliRunner().invoke(app, command)

    return invoke


def test_text_has_units_and_json_is_kept(run, demo, tmp_path):
    out = tmp_path / "speed.json"
    result = run(demo, "--scenario", "single", "--seconds", "0.05", "--out", out)
    assert result.exit_code == 0, result.output
    assert "p50 ms" in result.stdout
    assert "CPU s/clip" in result.stdout
    assert "quality   not stated" in result.stdout
    assert "640×480 pixels" in result.stdout
    assert result.stderr.endswith(f"Wrote {out}.\n")
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["single"]["wall"]["p50_s"] > 0
    assert found["server"] is None


def test_json_goes_to_stdout_alone(run, demo):
    result = run(demo, "--scenario", "single", "--seconds", "0.05", "--format", "json")
    found = json.loads(result.stdout)
    assert found["decode"] == "exact"
    assert {"load", "busy", "versions"} <= set(found["circumstances"])


def test_what_cannot_be_is_a_typed_error(run, demo, tmp_path):
    for arguments in ((tmp_path / "none.mp4",), (demo, "--seconds", "0"), (demo, "--out", demo)):
        assert isinstance(run(*arguments).exception, UsageError)
    assert run(demo, "--scenario", "sigle").exit_code == 2


def test_the_memory_of_workers_is_handed_on(run, demo, monkeypatch):
    asked = []

    def measure(*_, memory_mb, **__):
        asked.append(memory_mb)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measure", measure)
    run(demo)
    run(demo, "--memory", 70_000)
    assert asked == [2048, 70_000]


def test_ctrl_c_ends_without_a_traceback(run, demo, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measure", interrupt)
    result = run(demo, "--out", tmp_path / "speed.json")
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr
    assert not result.stdout
    assert not (tmp_path / "speed.json").exists()


def test_every_scenario_has_its_table_and_a_name_gives_no_orders(demo):
    report = module.measure(open_bundle(), [str(demo)], ("single",), seconds=0.01)
    wall = latency([0.25])
    report = replace(
        report,
        circumstances=replace(report.circumstances, load=9.0, busy=True),
        clips=[replace(report.clips[0], clip="[red]x\x1b[2J"), *report.clips * 6],
        offline=[Throughput(1, 8, 4.0, 1.0, None, None), Throughput(2, 8, 7.9, 1.98, 0.2, 210.4)],
        server=Server(2, 1.5, 3.25, wall, [Probe(3.25, 20, True, wall), Probe(9, 20, False, None)]),
        cold=ColdStart(5, 0.4, 0.3, 0.1, 1.0, 0.9, 200.0),
        drift=MemoryGrowth(1000, 200.0, 202.0, 0.01),
    )
    text = io.StringIO()
    print_report(report, Console(file=text, width=80))
    shown = text.getvalue()
    assert "PCC 0.468" in shown
    assert "validation, unseen" in shown
    assert "[red]x\\x1b[2J" in shown
    assert "and 2 more" in shown
    assert "1.98" in shown
    assert "3.25 requests/s kept 95 % of the answers within 1,500.0 ms" in shown
    assert "medians of 5" in shown
    assert "+1.0%" in shown
    assert "The machine was busy" in shown
    assert max(map(len, shown.splitlines())) <= 80
    report = replace(report, server=replace(report.server, rate_per_s=None, wall=None))
    text = io.StringIO()
    print_report(report, Console(file=text, width=80))
    assert "No tested rate" in text.getvalue()
