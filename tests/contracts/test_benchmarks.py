"""The scripts of benchmarks/: what they draw, and that those run that are measured elsewhere."""

import os
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import engines, gpu, text_systems, throughput, training_speed
from mmperson.config import load_recipe
from mmperson.errors import UsageError
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


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_throughput_is_measured(tiny_bundle, demo):
    found = throughput.measure(str(tiny_bundle), [str(demo)], rounds=3, repeat=20, most=2)
    assert [row["workers"] for row in found["rates"]] == [1, 2]
    assert all(row["clips_per_s"] > 0 and row["clips"] == 3 for row in found["rates"])
    (clip,) = found["clips"]
    assert 0 < clip["cpu_s"] < 60
    assert set(clip["wall_ms"]) == {"decode", "inputs", "encode", "fuse", "total"}
    assert found["cold"]["first_score_s"] > found["cold"]["import_s"] > 0
    assert abs(found["memory"]["growth"]) < 0.1


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
