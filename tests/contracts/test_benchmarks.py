"""The scripts of benchmarks/: what they draw, and that those run that are measured elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import text_systems, throughput, training_speed
from mmperson.config import load_recipe
from mmperson.media import find_transcript
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
