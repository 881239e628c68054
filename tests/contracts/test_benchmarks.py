"""Benchmarks whose results are made elsewhere still run."""

import os

import pytest

from benchmarks import throughput, training_speed


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
