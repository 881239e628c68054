import shutil

import numpy as np
import onnx
import pytest

from mmperson.config import parse_recipe
from mmperson.datasets import read_manifest
from mmperson.errors import BundleCorrupt, BundleNotFound, ConfigError
from mmperson.evaluation.scoring import score_bundle
from mmperson.exporting import export_run
from mmperson.exporting.parity import TOLERANCE
from mmperson.models.checkpoint import NETWORK_FILE, load_network, member_folder
from mmperson.training import score_run, train
from mmperson.training.step import TrainStep


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    """A frozen text encoder whose states are reduced to a few components."""
    content = tiny_recipe.model_dump(mode="json")
    content["data"] |= {"ensemble": True, "folds": 2}
    content["text"] |= {"trainable_layers": 0, "dim": 8}
    return parse_recipe(content, source="test")


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    return train(recipe, tmp_path_factory.mktemp("ensemble") / "run").run


@pytest.fixture(scope="module")
def rows(manifest_file):
    return read_manifest(manifest_file).where_split("validation")


def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def test_the_score_is_the_mean_of_the_members(run, rows, tmp_path):
    members = [score_run(member_folder(run, fold), rows) for fold in range(2)]
    assert np.abs(members[0] - members[1]).max() > 1e-3
    np.testing.assert_allclose(score_run(run, rows), np.mean(members, axis=0), atol=1e-6)
    kept = score_run(run, rows, cache=tmp_path)  # What is kept has sixteen bits.
    np.testing.assert_allclose(kept, np.mean(members, axis=0), atol=2e-3)


def test_a_member_is_the_run_that_holds_its_fold_out(recipe, run, tmp_path):
    train(recipe.member(1), tmp_path)
    alone, member = (folder / NETWORK_FILE for folder in (tmp_path, member_folder(run, 1)))
    weights = [load_network(path.parent).network.state_dict() for path in (alone, member)]
    for name, tensor in weights[0].items():
        assert tensor.equal(weights[1][name]), name


def test_every_row_is_learned_from_and_selected_on(recipe, run):
    result = train(recipe, run)
    assert (result.train_rows, result.select_rows, result.resumed) == (36, 36, True)


@pytest.mark.slow
def test_the_export_says_what_the_members_say(run, rows, tmp_path):
    info = export_run(run, tmp_path / "bundle", rows, precision="fp32")
    assert info.parity["fp32"] <= TOLERANCE
    assert "the mean of 2 networks" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    np.testing.assert_allclose(
        score_bundle(tmp_path / "bundle", rows), score_run(run, rows), atol=TOLERANCE
    )
    # The members' frozen backbone has two layers, and is in the graph once.
    graph = onnx.load(tmp_path / "bundle" / "encoder_text.onnx").graph
    assert sum(node.op_type == "Softmax" for node in graph.node) == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_an_ensemble_is_converted_like_one_network(precision, run, rows, tmp_path):
    info = export_run(run, tmp_path / "bundle", rows, precision=precision)
    assert info.precision["encoder_text"] == precision
    np.testing.assert_allclose(
        score_bundle(tmp_path / "bundle", rows), score_run(run, rows), atol=0.02
    )


@pytest.mark.slow
def test_an_interrupted_ensemble_goes_on(recipe, run, tmp_path, monkeypatch):
    take, taken = TrainStep.run, []

    def interrupted(train_step, *arguments):
        taken.append(train_step.recipe.data.held_out)
        if taken.count(1) == 4:
            raise Interrupted
        return take(train_step, *arguments)

    monkeypatch.setattr(TrainStep, "run", interrupted)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path)
    with pytest.raises(BundleNotFound, match=r"1 of 2 members.*fold-1"):
        load_network(tmp_path)
    del taken[:]
    monkeypatch.setattr(TrainStep, "run", lambda s, *a: taken.append(s.recipe.data) or take(s, *a))
    train(recipe, tmp_path)
    assert {data.held_out for data in taken} == {1}
    for fold in range(2):
        whole, cut = (member_folder(folder, fold) / NETWORK_FILE for folder in (run, tmp_path))
        for name, tensor in load_network(whole.parent).network.state_dict().items():
            assert tensor.equal(load_network(cut.parent).network.state_dict()[name]), name


def test_a_missing_member_is_named(run, rows, tmp_path):
    folder = copied(run, tmp_path)
    shutil.rmtree(member_folder(folder, 0))
    with pytest.raises(BundleNotFound, match="no network in fold-0"):
        score_run(folder, rows)
    with pytest.raises(BundleNotFound, match="no network in fold-0"):
        export_run(folder, tmp_path / "bundle", rows)


def test_a_member_of_another_fold_is_refused(run, rows, tmp_path):
    folder = copied(run, tmp_path)
    shutil.copy(member_folder(run, 1) / NETWORK_FILE, member_folder(folder, 0))
    with pytest.raises(BundleCorrupt, match="fold-0'"):
        score_run(folder, rows)


@pytest.mark.parametrize("also", [{"held_out": 0}, {"select_split": "validation"}])
def test_an_ensemble_holds_out_every_fold(recipe, also):
    content = recipe.model_dump(mode="json")
    content["data"] |= also
    with pytest.raises(ConfigError, match="holds out each fold in turn"):
        parse_recipe(content, source="test")
