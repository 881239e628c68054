"""What needs a GPU to be of interest must still run on a CPU."""

import pytest

from benchmarks import training_speed


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
