"""The scripts of benchmarks/: what they draw, and that those run that are measured elsewhere."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import (
    against_peers,
    engines,
    gpu,
    moving_clip,
    scaling,
    speed_tables,
    text_systems,
    throughput,
    training_speed,
)
from mmperson.config import load_recipe
from mmperson.errors import UsageError
from mmperson.media import find_transcript, probe_clip, read_clip
from mmperson.runtime.bundle import open_bundle
from tests.conftest import make_corpus


def test_rows_have_words_and_fewer_rows_are_some_of_them():
    manifest = make_corpus()
    split = np.where(manifest.split == "train", "train", "test")
    manifest = replace(manifest, split=split)
    many, few = (text_systems.draw_rows(manifest, *counts) for counts in ((20, 8), (5, 2)))
    assert [int((many.split == name).sum()) for name in ("train", "test")] == [20, 8]
    assert all(text.strip() for text in text_systems.draw_rows(manifest, 99, 99).transcript)
    assert set(few.sample_id) < set(many.sample_id)
    assert many.sample_id.tolist() == sorted(many.sample_id.tolist())


def test_every_system_is_a_recipe_that_reads_words_alone(project_root):
    for system in text_systems.SYSTEMS.values():
        path = project_root / "configs" / f"{system.recipe}.yaml"
        assert load_recipe(path, system.changes).modalities == ("text",)


def test_training_speed_is_measured_on_a_cpu(tmp_path, project_root):
    changes = {"optim.epochs": "2", "optim.batch_size": "2", "video.frames": "2"}
    changes |= {"video.size": "32", "run.threads": "1"}
    clip = project_root / "docs" / "demo" / "demo.mp4"
    found = training_speed.measure(changes, clip, 2, tmp_path)
    whole, kept = found["end to end"], found["kept image features"]
    # The image network's own work is saved; the other encoders' and the fusion's stays.
    assert 0 < kept["operations_per_clip"] < whole["operations_per_clip"]
    assert whole["operations_per_s"] == pytest.approx(
        whole["operations_per_clip"] * whole["clips_per_s"]
    )
    assert whole["share_of_bf16_peak"] is None  # There is no such figure for a CPU.
    assert found["projected_s"]["decoding in one process"] > 0


def test_every_clip_of_throughput_has_words(demo, tmp_path):
    silent = tmp_path / "silent.mp4"
    silent.write_bytes(demo.read_bytes())
    folder = tmp_path / "linked"
    folder.mkdir()
    linked = throughput.with_words([str(demo), str(silent)], folder)
    assert [find_transcript(clip) is not None for clip in linked] == [True, True]


def test_a_moving_clip_is_drawn_as_asked_and_always_the_same(tmp_path):
    one, other = (
        moving_clip.write_moving_clip(tmp_path / name, 0.6, 160, 90) for name in ("a.mp4", "b.mp4")
    )
    # Decoders of AAC draw noise, so the voice may differ by it.
    pictures = [read_clip(path, frames=4).frames for path in (one, other)]
    np.testing.assert_array_equal(*pictures)
    info = probe_clip(one)
    assert (info.video.width, info.video.height) == (160, 90)
    assert info.duration_s == pytest.approx(0.6, abs=0.1)
    assert info.audio is not None
    assert find_transcript(one) is not None


def test_lines_are_fitted_with_their_share_of_the_spread():
    exact = scaling.line([1, 2, 4], [3.0, 5.0, 9.0])
    assert exact == pytest.approx({"slope": 2.0, "intercept": 1.0, "r2": 1.0})
    assert 0 < scaling.line([1, 2, 3], [1.0, 3.0, 2.0])["r2"] < 0.5
    assert scaling.line([1, 2], [1.0, 3.0])["r2"] is None


def test_scaling_and_its_floor_are_measured(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "SIZES", ((64, 36), (96, 54), (128, 72)))
    monkeypatch.setattr(scaling, "LENGTHS_S", (0.5, 1.0, 1.5))
    monkeypatch.setattr(scaling, "LENGTHS_SIZE", (64, 36))
    monkeypatch.setattr(scaling, "SECONDS", 1.0)
    monkeypatch.setattr(scaling, "BATCHES", (1, 2))
    monkeypatch.setattr(scaling, "PROFILES", ("exact",))
    bundle = open_bundle(tiny_bundle)
    found = scaling.scaling(bundle, tmp_path, repeats=1, seconds=0.05)
    assert len(found["pixels"]["cpu_s"]) == len(found["length"]["cpu_s"]) == 3
    assert found["batch"]["fit_s_per_clip"]["slope"] != 0
    goals = scaling.goals(bundle, bundle, bundle, scaling.clip_of(tmp_path, 1.0, 64, 36), repeats=1)
    row = goals["three modalities, exact"]
    assert set(row["floor_parts_cpu_s"]) == {
        "decode", "encoder_audio", "encoder_text", "fusion"
    }  # fmt: skip
    assert row["whole_over_floor"] > 0.5
    assert row["cpu_s"] > 0


def peer_line(**changes):
    figures = {name: 1.0 for name in against_peers.MEASURED}
    return json.dumps({**figures, "scores": [0.5] * 5, **changes})


def test_the_figures_of_a_peer_are_read_behind_what_it_prints_itself():
    found = against_peers.parse(f"Loading ...\n\n{peer_line(frames=75)}\n")
    assert found == {**{name: 1.0 for name in against_peers.MEASURED}, "frames": 75}


@pytest.mark.parametrize(
    "output", ["", "Killed", "[]", "{}", peer_line(scores=[None] * 5), peer_line(scores=[0.5])]
)
def test_a_peer_that_did_not_score_the_clip_has_no_figures(output):
    with pytest.raises(ValueError, match="Not "):
        against_peers.parse(output)


def test_the_table_of_peers_has_medians_and_ratios():
    cpu_s = {"mmperson, text and audio": (1, 1, 2), "oceanai": (24, 30, 18)}
    cpu_s |= {"mmperson, 75 frames": (6, 6, 6), "deep_personality": (11, 11, 11)}
    cpu_s |= {"mmperson, 100 frames": (22, 22, 22)}
    rows = [
        {"system": name, **{key: 1 for key in against_peers.MEASURED}, "clip_cpu_s": seconds}
        for name, rounds in cpu_s.items()
        for seconds in rounds
    ]
    facts = {"rounds": 3, "load": 0.1, "hardware": "h", "file": "f", "command": "c"}
    result = {"systems": against_peers.summarise(rows), **facts}
    lines = against_peers.table(result).splitlines()
    assert lines[3] == "| oceanai | 1 | 24.00 | 18.00-30.00 | 1.0, 1.0 | 1 | 24.0x | 4.0x |"
    assert lines[5].endswith("| 11.0x | 0.5x |")
    assert "is not met" in lines[-1]


def test_engines_are_measured(tiny_bundle, monkeypatch):
    monkeypatch.setattr(engines, "ENOUGH_S", 0.0)
    monkeypatch.setattr(engines, "available", lambda: ["cpu"])
    rows = engines.measure_network("tiny", {"int8": open_bundle(tiny_bundle)})
    assert [(row["graph"], row["precision"]) for row in rows] == [
        ("encoder_audio", "fp32"),
        ("encoder_text", "int8"),
        ("fusion", "fp32"),
    ]
    assert all(row["cpu_ms_batch_1"] >= 0 and row["change_of_scores"] == 0 for row in rows)
    facts = {"hardware": "h", "versions": {"onnxruntime": "1"}, "load_average": 0.5}
    told = engines.table({"rows": rows, "file": "f.json", "command": "c", **facts})
    assert told.count("| tiny |") == 3
    assert "`results/f.json`" in told


def test_the_page_shows_the_newest_measurement_of_engines(project_root):
    page = (project_root / "benchmarks" / "README.md").read_text(encoding="utf-8")
    shown = page.split("<!-- engines -->\n")[1].split("\n<!-- end engines -->")[0]
    assert shown == engines.table(engines.newest_result("engines"))


def test_the_gpu_benchmark_runs_on_a_cpu(tiny_text_weights, capsys):
    changes = {**gpu.TINY, "video": "null", "text.weights": str(tiny_text_weights)}
    changes = {k: v for k, v in changes.items() if not k.startswith("video.")}
    changes |= {"text.layers": "[0, 2]"}
    setting = gpu.Setting("cpu", sizes=(1, 2), tokens=8, repeats=1, product=32)
    found = gpu.measure(setting, changes)
    assert len(found["rows"]) == 3 * 2 * 3  # Graphs, sizes and systems.
    assert not [row for row in found["rows"] if "refused" in row]
    for row in found["rows"]:
        assert row["clips_per_s"] > 0
        assert row["relative_error"] < (1e-4 if row["system"] == "onnxruntime fp32" else 0.05)


def test_the_gpu_benchmark_wants_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="sees no GPU"):
        gpu.require("cuda")
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match="has no provider 'cuda'"):
        gpu.require("cuda")


def test_speed_stands_beside_what_was_aimed_at():
    rows = speed_tables.cost_rows(
        {name: {"cpu_s": 0.2, "whole_over_floor": 1.2} for name in speed_tables.GOALS}
    )
    assert [met for *_, met in rows][:4] == [False, True, True, True]
    shown = speed_tables.table(rows, "a clip")
    assert shown.count("| met |") == 11
    assert "CPU time | 0.200 s | 0.15 s | missed |" in shown


def test_the_readme_shows_the_newest_speed(project_root):
    text = (project_root / "README.md").read_text(encoding="utf-8")
    found = [speed_tables.newest_result(kind) for kind in ("throughput", "scaling")]
    if all(found):
        assert speed_tables.page(*found) in text
