import re
import sys
import types

import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.cli.train import parse_overrides
from mmperson.errors import MissingExtra, UsageError

RECIPE = "name: tiny\ndata: {manifest: m.parquet}\naudio: {tokens: 2}\n"


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Put in a training that only talks; return the recipes that it was given."""
    recipes = []

    def train(recipe, out, on_epoch, on_note):
        recipes.append(recipe)
        on_note("A note with [brackets].")
        on_epoch(1, 2, {"loss": 0.25})
        return types.SimpleNamespace(best=0.5, train_rows=7, run=out)

    fake = types.ModuleType("mmperson.training")
    fake.train = train
    monkeypatch.setitem(sys.modules, "mmperson.training", fake)
    return recipes


def call(*arguments, **environment):
    return CliRunner().invoke(
        app, ["train", *map(str, arguments)], env={"COLUMNS": "200", **environment}
    )


def test_progress_and_notes_go_to_stderr(trained, recipe_file, tmp_path):
    result = call(recipe_file, "--out", tmp_path / "run", "--optim.lr", "1e-4")
    assert result.exit_code == 0, result.exception
    assert trained[0].optim.lr == 1e-4
    assert result.stdout == ""
    assert "A note with [brackets]." in result.stderr
    assert "epoch   1/2  loss 0.2500" in result.stderr
    assert re.search(r"\b7 rows.*\b0\.5000\b", result.stderr)


def test_notes_are_yellow(trained, recipe_file, tmp_path):
    result = call(recipe_file, "--out", tmp_path / "run", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[33mA note with [brackets].\x1b[0m" in result.stderr


@pytest.mark.parametrize(("rank", "talks"), [("0", True), ("1", False)])
def test_one_process_of_several_talks(trained, recipe_file, tmp_path, rank, talks):
    result = call(recipe_file, "--out", tmp_path / "run", RANK=rank)
    assert len(trained) == 1
    assert (result.stderr != "") is talks


def test_the_resolved_recipe_is_printed_without_training(trained, recipe_file):
    result = call(recipe_file, "--print-config", "--seed=3")
    assert "seed: 3\n" in result.stdout
    assert trained == []


def test_a_run_folder_is_asked_for(recipe_file):
    assert isinstance(call(recipe_file).exception, UsageError)


def test_without_torch_the_extra_is_named(monkeypatch, recipe_file, tmp_path):
    monkeypatch.setitem(sys.modules, "mmperson.training", None)
    result = call(recipe_file, "--out", tmp_path / "run")
    assert isinstance(result.exception, MissingExtra)
    assert "mmperson[train]" in str(result.exception)


def test_flags_are_read_with_and_without_an_equals_sign():
    flags = ["--optim.lr", "1e-4", "--run.cache=a=b", "--seed", "-1"]
    assert parse_overrides(flags) == {"optim.lr": "1e-4", "run.cache": "a=b", "seed": "-1"}


@pytest.mark.parametrize(
    ("words", "message"), [(["lr"], "'lr' is unexpected"), (["--optim.lr"], "needs a value")]
)
def test_a_word_that_is_no_flag_is_named(words, message):
    with pytest.raises(UsageError, match=message):
        parse_overrides(words)
