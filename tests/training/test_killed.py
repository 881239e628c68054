"""SIGKILL at any moment costs time alone; tests/stress does the same at scale."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmperson.config import parse_recipe
from mmperson.datasets import read_manifest
from mmperson.datasets.dataset import ClipDataset
from mmperson.files import temp_path
from mmperson.models.input_spec import input_spec, tokenizer_file
from mmperson.models.network import PersonalityNetwork
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.training import train
from mmperson.training.encoding import encode_rows
from mmperson.training.tracker import LOG_FILE, Tracker
from tests.stress.crash_safety import kill_repeatedly, run_uninterrupted
from tests.stress.subjects import training


def with_frozen_text(recipe, **sections):
    content = recipe.model_dump(mode="json")
    for name, values in {"text": {"trainable_layers": 0, "dim": 8}, **sections}.items():
        content[name] = {**(content[name] or {}), **values}
    return parse_recipe(content, source="test")


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(recipe, tmp_path):
    recipe = with_frozen_text(
        recipe,
        data={"held_out": 0},
        teacher={"steps": 2, "sources": 8},
        loss={"name": "mse", "soft_weight": 0.5},
        optim={"epochs": 6, "schedule": "plateau"},
    )
    subject = training(recipe, tmp_path)
    reference = run_uninterrupted(subject, tmp_path / "reference")
    found = kill_repeatedly(subject, reference, tmp_path, kills=4, seed=0)
    assert found.endings == {"SIGKILL": 4}
    assert max(found.lost) <= recipe.run.checkpoint_steps
    assert found.faults == []


def test_what_a_killed_process_was_writing_is_taken_away(recipe, tmp_path):
    train(recipe, tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in ("state.safetensors", "log.jsonl", "recipe.yaml"):
        mine = temp_path(tmp_path / name)
        mine.with_name(mine.name.replace(f"-{os.getpid()}", f"-{ended.pid}")).write_bytes(b"half")
    train(recipe, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_the_log_is_whole_at_every_moment(tmp_path, monkeypatch):
    with Tracker(tmp_path, 0) as tracker:
        tracker.log(1, loss=0.5)
    before = (tmp_path / LOG_FILE).read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    try:
        Tracker(tmp_path, 1)
    except KeyboardInterrupt:
        assert (tmp_path / LOG_FILE).read_bytes() == before
    else:
        raise AssertionError("the log was not replaced in one go")


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 0), halve])
def test_features_do_not_depend_on_which_were_there_already(recipe, tmp_path, damage):
    recipe = with_frozen_text(recipe)
    spec, tokenizer = input_spec(recipe), load_tokenizer(tokenizer_file(recipe.text))
    rows = ClipDataset.prepare(read_manifest(recipe.data.manifest), spec, tokenizer)
    network = PersonalityNetwork(recipe, spec)
    encode_rows(network, rows, "text", tmp_path / "whole")
    encode_rows(network, rows, "text", tmp_path / "cut")
    files = sorted((tmp_path / "cut").rglob("*.npy"))
    for path in files[::3]:
        damage(path)
    batches = []
    features = network.features
    network.features = lambda name, batch: (
        batches.append(len(batch["text"])) or features(name, batch)
    )
    encode_rows(network, rows, "text", tmp_path / "cut")
    assert batches == [len(rows)]  # They are computed beside the rows that they were first beside.
    for path in files:
        whole = tmp_path / "whole" / path.relative_to(tmp_path / "cut")
        np.testing.assert_array_equal(np.load(path), np.load(whole))
