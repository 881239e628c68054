"""The scripts of benchmarks/: what they draw, and that those run that are measured elsewhere."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import against_peers, text_systems, throughput, training_speed
from mmperson.config import load_recipe
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
