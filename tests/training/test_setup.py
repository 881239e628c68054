import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmperson.config import parse_recipe
from mmperson.datasets import read_manifest, write_manifest
from mmperson.errors import DataError, NonFiniteLoss, ResumeMismatch, TrainingError, UsageError
from mmperson.evaluation.metrics import pcc
from mmperson.models.checkpoint import NETWORK_FILE, load_network
from mmperson.models.fusion.recall import RecallingSummary
from mmperson.models.input_spec import input_spec
from mmperson.models.layers.kernel_memory import KernelMemory
from mmperson.models.network import PersonalityNetwork
from mmperson.training import loop, optim, score_run, step, train
from mmperson.training.data import _progress, split_rows
from mmperson.training.step import TrainStep
from mmperson.training.tracker import LOG_FILE

ROOT = Path(__file__).parents[2]
TAUGHT = {"teacher": {"steps": 2, "sources": 8}, "loss": {"name": "mse", "soft_weight": 1.0}}


def changed(recipe, **sections):
    content = recipe.model_dump(mode="json")
    for name, values in sections.items():
        content[name] = {**(content[name] or {}), **values}
    return parse_recipe(content, source="test")


class Interrupted(Exception):
    """Stands for a kill."""


VARIANTS = {
    "plain": {},
    "held out": {"data": {"held_out": 0}},
    "frozen text": {"text": {"trainable_layers": 0}},
    "taught": TAUGHT,
}
QUICK = {("plain", 3), ("held out", 4), ("taught", 7)}


@pytest.fixture(scope="module")
def whole_runs(tiny_recipe, tmp_path_factory):
    """Train a variant without an interruption, once."""

    @functools.cache
    def run(variant):
        recipe = changed(tiny_recipe, **VARIANTS[variant])
        return train(recipe, tmp_path_factory.mktemp("whole") / "run").run

    return run


@pytest.mark.parametrize(
    ("variant", "stop"),
    [
        pytest.param(variant, stop, marks=() if (variant, stop) in QUICK else pytest.mark.slow)
        for variant in VARIANTS
        for stop in (0, 3, 4, 7)
    ],
)
def test_an_interrupted_run_ends_in_the_same_bits(
    recipe, whole_runs, tmp_path, monkeypatch, variant, stop
):
    recipe = changed(recipe, **VARIANTS[variant])
    expected = whole_runs(variant)
    take = TrainStep.run

    def interrupted(train_step, *arguments):
        if train_step.state.progress.step == stop:
            raise Interrupted
        return take(train_step, *arguments)

    monkeypatch.setattr(TrainStep, "run", interrupted)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut")
    monkeypatch.setattr(TrainStep, "run", take)
    result = train(recipe, tmp_path / "cut")
    assert result.resumed == (stop >= 2)
    for name in (NETWORK_FILE, LOG_FILE):
        assert (expected / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


@pytest.mark.slow
def test_a_run_on_a_plateau_ends_in_the_same_bits(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(optim, "_PLATEAU_PATIENCE", 0)
    settings = {"schedule": "plateau", "epochs": 6, "lr": 0.03, "warmup": 0.0}
    recipe = changed(recipe, data={"held_out": 0}, optim=settings)
    train(recipe, tmp_path / "whole")
    lines = (tmp_path / "whole" / LOG_FILE).read_text(encoding="utf-8").splitlines()
    rates = [numbers["rate"] for numbers in map(json.loads, lines) if "rate" in numbers]
    assert rates[0] == 1.0
    assert min(rates) < 1.0
    take = TrainStep.run

    def interrupted(train_step, *arguments):
        if train_step.state.progress.step == len(rates) - 1:
            raise Interrupted
        return take(train_step, *arguments)

    monkeypatch.setattr(TrainStep, "run", interrupted)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut")
    monkeypatch.setattr(TrainStep, "run", take)
    train(recipe, tmp_path / "cut")
    for name in (NETWORK_FILE, LOG_FILE):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_finished_run_is_not_trained_again(recipe, tmp_path):
    train(recipe, tmp_path)
    before = (tmp_path / NETWORK_FILE).read_bytes()
    train(recipe, tmp_path)
    assert (tmp_path / NETWORK_FILE).read_bytes() == before


def test_another_recipe_does_not_take_up_a_run(recipe, tmp_path):
    train(recipe, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    with pytest.raises(ResumeMismatch, match="another recipe"):
        train(changed(recipe, optim={"lr": 0.5}), tmp_path)
    assert {path: path.read_bytes() for path in before} == before


def test_a_teacher_of_another_fold_is_not_taken_up(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainStep, "run", lambda *_: (_ for _ in ()).throw(Interrupted))
    first = changed(recipe, data={"held_out": 0}, **TAUGHT)
    with pytest.raises(Interrupted):
        train(first, tmp_path)
    assert (tmp_path / "teacher_2.safetensors").is_file()
    with pytest.raises(ResumeMismatch, match="another recipe"):
        train(changed(first, data={"held_out": 1}), tmp_path)


def test_threads_do_not_make_another_recipe(recipe):
    assert changed(recipe, run={"threads": 2}).hash == recipe.hash


@pytest.mark.slow
def test_it_learns_what_the_descriptors_say(recipe, tmp_path, manifest_file):
    recipe = changed(recipe, optim={"epochs": 90, "lr": 3e-3}, fusion={"modality_dropout": 0.0})
    train(recipe, tmp_path)
    rows = read_manifest(manifest_file).where_split("train")
    heard = rows.select(np.isfinite(rows.descriptors).all(axis=1))
    scores = score_run(tmp_path, heard)
    assert np.mean([pcc(scores[:, t], heard.targets[:, t]) for t in range(5)]) > 0.7


def test_a_teacher_changes_what_is_learned_and_fills_the_memories(recipe, tmp_path):
    train(changed(recipe, **TAUGHT), tmp_path)
    network = load_network(tmp_path).network
    assert network.encoders["audio"].memory.rows.shape == (35, 26)
    memory = network.fusion.summary["text"].memory
    assert memory.rows.shape == (35, 33)
    assert memory.weights.abs().max() > 0


def test_a_fusion_without_a_teacher_has_no_memory(recipe):
    taught = changed(recipe, **TAUGHT)
    kinds = [
        {type(module) for module in PersonalityNetwork(one, input_spec(one)).fusion.modules()}
        for one in (recipe, taught)
    ]
    assert kinds[1] - kinds[0] == {KernelMemory, RecallingSummary}
    assert KernelMemory not in kinds[0]


@pytest.mark.parametrize("absent", ["text", "audio"])
def test_rows_with_nothing_to_read_are_not_learned_from(recipe, tmp_path, absent):
    content = changed(recipe, **TAUGHT).model_dump(mode="json") | {absent: None}
    assert train(parse_recipe(content, source="test"), tmp_path).train_rows == 35


def test_a_row_with_nothing_to_read_has_no_score(recipe, tmp_path, manifest_file):
    train(recipe, tmp_path)
    rows = read_manifest(manifest_file)
    scores = score_run(tmp_path, rows, modalities=("text",))
    assert np.isnan(scores[1]).all()
    assert np.isfinite(np.delete(scores, 1, axis=0)).all()


def test_held_out_rows_share_no_source_with_training_rows(recipe, manifest_file):
    learn, select = split_rows(changed(recipe, data={"held_out": 1}), read_manifest(manifest_file))
    assert select is not None
    assert len(learn) + len(select) == 36
    assert not set(learn.source_id) & set(select.source_id)


def test_a_missing_split_is_named(recipe, tmp_path):
    with pytest.raises(DataError, match="no split 'dev'"):
        train(changed(recipe, data={"train_split": "dev"}), tmp_path)


def test_a_loss_that_is_no_number_names_its_clips(recipe, tmp_path, monkeypatch):
    nothing = lambda scores, *_: scores.sum() * float("nan")  # noqa: E731
    monkeypatch.setattr(step, "build_loss", lambda _: nothing)
    with pytest.raises(NonFiniteLoss, match=r"step 1 .*clip0"):
        train(recipe, tmp_path)


def test_a_step_in_parts_is_the_same_step(recipe, tmp_path):
    plain = {"audio": {"dropout": 0.0}, "fusion": {"dropout": 0.0}, "text": {"trainable_layers": 0}}
    for parts in (1, 3):
        train(changed(recipe, **plain, optim={"accumulate": parts}), tmp_path / str(parts))
    whole, cut = (load_network(tmp_path / parts).network.state_dict() for parts in ("1", "3"))
    for name, weights in whole.items():
        torch.testing.assert_close(cut[name], weights, atol=1e-5, rtol=1e-4)


def test_a_step_that_does_not_fit_is_taken_in_more_parts(recipe, tmp_path, monkeypatch):
    forward = PersonalityNetwork.forward_transformed

    def small(network, batch):
        if len(batch["present"]) > 3:
            raise torch.OutOfMemoryError("no room")
        return forward(network, batch)

    monkeypatch.setattr(PersonalityNetwork, "forward_transformed", small)
    notes: list[str] = []
    train(recipe, tmp_path, on_note=notes.append)
    assert [note.split("run in ")[1].split(" parts")[0] for note in notes] == ["2", "4"]
    assert (tmp_path / NETWORK_FILE).is_file()


def test_a_single_clip_that_does_not_fit_is_an_error(recipe, tmp_path, monkeypatch):
    def never(network, batch):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(PersonalityNetwork, "forward_transformed", never)
    with pytest.raises(TrainingError, match="with 1 clips at a time"):
        train(recipe, tmp_path)


def test_a_corpus_that_moved_is_not_taken_for_one_of_text(recipe, tmp_path, manifest_file):
    rows = read_manifest(manifest_file)
    gone = dataclasses.replace(rows, clip=(str(tmp_path / "gone.mp4"),) * len(rows))
    write_manifest(gone, tmp_path / "gone.parquet")
    with pytest.raises(DataError, match="36 of the 36 clips"):
        train(changed(recipe, data={"manifest": str(tmp_path / "gone.parquet")}), tmp_path / "run")


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one(recipe, tmp_path):
    plain = {"audio": {"dropout": 0.0}, "fusion": {"dropout": 0.0}, "text": {"trainable_layers": 0}}
    recipe = changed(recipe, **plain)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    train(recipe, tmp_path / "one")
    script = "from mmperson.cli.app import main; main()"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (tmp_path / "go.py").write_text(script, encoding="utf-8")
    command += [str(tmp_path / "go.py"), "train", str(tmp_path / "recipe.yaml")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "--out", str(tmp_path / "two")], check=True, env=environment, capture_output=True
    )
    losses = []
    for run in ("one", "two"):
        lines = (tmp_path / run / LOG_FILE).read_text(encoding="utf-8").splitlines()
        losses.append([json.loads(line)["loss"] for line in lines if "rate" in line])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_a_run_does_not_go_on_with_other_rows(recipe, tmp_path, manifest_file):
    rows = read_manifest(manifest_file)
    path = tmp_path / "manifest.parquet"
    write_manifest(rows, path)
    recipe = changed(recipe, data={"manifest": str(path)})
    train(recipe, tmp_path / "run")
    write_manifest(dataclasses.replace(rows, targets=1 - rows.targets), path)
    with pytest.raises(ResumeMismatch, match="other content"):
        train(recipe, tmp_path / "run")


def test_a_trait_without_labels_does_not_stop_the_selection(recipe, tmp_path, manifest_file):
    rows = read_manifest(manifest_file)
    targets = rows.targets.copy()
    targets[rows.split == "validation", 1] = np.nan
    write_manifest(dataclasses.replace(rows, targets=targets), tmp_path / "manifest.parquet")
    data = {"manifest": str(tmp_path / "manifest.parquet"), "select_split": "validation"}
    assert train(changed(recipe, data=data), tmp_path / "run").best is not None


def test_an_epoch_without_a_metric_does_not_win(recipe, tmp_path, monkeypatch):
    values = iter([np.nan] * 5 + [0.1] * 5)
    monkeypatch.setattr(loop, "pcc", lambda *_: next(values))
    recipe = changed(recipe, data={"held_out": 0}, run={"select_metric": "pcc"})
    assert train(recipe, tmp_path).best == pytest.approx(0.1)


def test_a_folder_is_claimed_only_for_a_recipe_that_can_be_trained(recipe, tmp_path):
    with pytest.raises(DataError):
        train(changed(recipe, data={"train_split": "bogus"}), tmp_path / "run")
    train(recipe, tmp_path / "run")


def test_a_file_is_no_run_folder(recipe, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written"):
        train(recipe, tmp_path / "file")


def test_calibration_fits_the_selection_rows_and_nothing_else(recipe, tmp_path):
    recipe = changed(recipe, data={"held_out": 0}, loss={"name": "mse"})
    manifest = read_manifest(recipe.data.manifest)
    _, held = split_rows(recipe, manifest)
    errors = {}
    for name in ("plain", "calibrated"):
        heads = {"calibrate": name == "calibrated", "output": "linear"}
        train(changed(recipe, heads=heads), tmp_path / name)
        errors[name] = score_run(tmp_path / name, held) - held.targets
    assert np.abs(errors["calibrated"].mean(axis=0)).max() < 1e-4
    assert np.abs(errors["plain"].mean(axis=0)).max() > 1e-3
    assert ((errors["calibrated"] ** 2).mean(0) <= (errors["plain"] ** 2).mean(0) + 1e-9).all()


def test_decoding_is_told_at_the_start_and_now_and_then():
    said = []
    tell = _progress(450, said.append)
    for done in range(20, 451):
        tell(done)
    told = [re.search(r"\b(\d+) of 450 rows", note)[1] for note in said]
    assert told == ["20", "120", "220", "320", "420"]
    said.clear()
    _progress(450, said.append)(450)
    assert said == []
