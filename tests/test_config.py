import os
from typing import get_args

import pytest

from mmperson.config import LossConfig, load_recipe
from mmperson.errors import ConfigError

MINIMAL = "name: tiny\ndata: {manifest: m.parquet}\naudio: {tokens: 2}\n"


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def test_flags_win_over_yaml_and_yaml_over_defaults(recipe_file):
    recipe = load_recipe(recipe_file, {"optim.lr": "1e-4", "audio.tokens": "3"})
    assert (recipe.optim.lr, recipe.audio.tokens, recipe.audio.dim) == (1e-4, 3, 128)


def test_a_flag_can_take_a_section_away(recipe_file):
    with pytest.raises(ConfigError, match="at least one encoder"):
        load_recipe(recipe_file, {"audio": "null"})


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("optim.lrr", "1", r"unknown key 'optim.lrr' \(Did you mean 'lr'\?\)"),
        ("optmi.lr", "1", r"unknown key 'optmi' \(Did you mean 'optim'\?\)"),
        ("optim.lr", "-1", r"'optim.lr' is -1"),
        ("optim.precision", "fp8", r"'optim.precision' is 'fp8'"),
        ("name.first", "x", "'name' is not a section"),
        ("data.held_out", "7", r"held_out must be below folds \(5\)"),
        ("loss.soft_weight", "0.5", "teacher and a loss.soft_weight above 0 go together"),
        ("optim.schedule", "plateau", "give data.held_out or data.select_split"),
        ("optim.lr", "[", "not a valid value"),
    ],
)
def test_a_wrong_flag_says_what_is_wrong(recipe_file, flag, value, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe_file, {flag: value})


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_recipe_is_refused(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        load_recipe(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        load_recipe(tmp_path / "nothing.yaml")


def test_the_resolved_yaml_loads_to_the_same_recipe(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    (tmp_path / "resolved.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    again = load_recipe(tmp_path / "resolved.yaml")
    assert again == recipe
    assert again.hash == recipe.hash


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("fusion.name", "ttfm", r"'fusion.name' is 'ttfm'; there are ttfn, .*Did you mean 'ttfn'"),
        ("fusion.headz", "2", r"unknown key 'fusion.headz' \(Did you mean 'heads'\?\)"),
        ("video.size", "3", r"'video.size' is 3"),
        ("data.targets", "[openness]", "targets must begin with openness, conscientiousness"),
        ("loss.ranking_weight", "0.3", "needs data.groups"),
        ("loss.target_weights", "[1, 2]", "2 weights; there are 5 targets"),
    ],
)
def test_a_component_knows_its_own_keys(recipe_file, flag, value, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe_file, {flag: value})


def test_a_key_of_another_component_is_unknown(recipe_file):
    with pytest.raises(ConfigError, match=r"unknown key 'fusion.layers'"):
        load_recipe(recipe_file, {"fusion.name": "concat", "fusion.layers": "2"})


def test_only_a_network_that_the_teacher_knows_is_taught(recipe_file):
    taught = {"teacher.steps": "1", "loss.soft_weight": "1"}
    assert load_recipe(recipe_file, taught).teacher is not None
    with pytest.raises(ConfigError, match=r"teacher needs fusion\.name ttfn"):
        load_recipe(recipe_file, taught | {"fusion.name": "concat"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"fusion.name": "concat", "heads.shared": "true"}, "equal scores"),
        ({"heads.calibrate": "true"}, "needs rows to select on"),
        ({"heads.output": "tanh", "data.labels": "rank"}, r"bounded to \[0, 1\]"),
        ({"fusion.dim": "10"}, r"dim \(10\) must be a multiple of heads \(4\)"),
        ({"loss.target_weights": "[0, 0, 0, 0, 0]"}, "not all 0"),
        ({"text.name": "contours", "text.prompt": "psychology"}, "the plain transcript"),
        ({"text.name": "dialogue", "text.stride": "2"}, "a token is a whole utterance"),
    ],
)
def test_what_does_not_fit_together_is_refused(recipe_file, flags, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe_file, flags)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: &x [1]\nb: *x\n", "aliases are not allowed"),
        ("name: a\nname: b\n", "duplicate key 'name'"),
        ("optim:\n  lr: 1\n  lr: 2\n", "duplicate key 'lr'"),
        ("x: " + "[" * 5000, "not valid YAML"),
        ("? [a]\n: 1\n", "a key must be a scalar"),
        ("seed: 2001-99-99\n", "invalid value"),
        ("seed: !!int x\n", "invalid value"),
        ("seed: !!map x\n", "expected a mapping"),
        ("seed: !!bool x\n", "invalid value"),
        ("seed: !!timestamp x\n", "invalid value"),
        ("a" * 300_000, "larger than"),
    ],
)
def test_hostile_yaml_is_refused(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    "number", ["0x" + "f" * 5000, "9" * 5000, "1" + ":1" * 400 + ".0", "1" + ":1" * 9000]
)
def test_an_endless_number_is_refused(recipe_file, number):
    recipe_file.write_text(MINIMAL + f"optim: {{epochs: {number}}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="a number is too long"):
        load_recipe(recipe_file)
    recipe_file.write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(ConfigError, match="not a valid value"):
        load_recipe(recipe_file, {"optim.epochs": number})


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(ConfigError, match="is not a file"):
        load_recipe(tmp_path)


def test_a_pipe_is_no_recipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="is not a file"):
        load_recipe(tmp_path / "pipe.yaml")


def test_no_more_than_the_allowed_bytes_are_read(recipe_file):
    os.truncate(recipe_file, 1 << 40)  # a file of holes: a terabyte that takes no space
    with pytest.raises(ConfigError, match="larger than"):
        load_recipe(recipe_file)


HUGE = "x" * 10_000


@pytest.mark.parametrize(
    "flags",
    [
        {"name": "[" + "1, " * 10_000 + "1]"},
        {"fusion.name": HUGE},
        {f"optim.{HUGE}": "1"},
        {"optim.lr": "[" + HUGE},
        {f"key{i}": "1" for i in range(1_000)},
    ],
)
def test_a_message_does_not_repeat_what_is_huge(recipe_file, flags):
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe_file, flags)
    assert len(str(caught.value)) < 1_000


def test_a_huge_key_that_is_there_twice_is_named_in_short(tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"{HUGE[:900]}: 1\n" * 2, encoding="utf-8")
    with pytest.raises(ConfigError, match="duplicate key") as caught:
        load_recipe(tmp_path / "recipe.yaml")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("seed", "-1"),
        ("seed", str(2**63)),
        ("optim.lr", ".inf"),
        ("loss.target_weights", "[1, 1, 1, 1, .nan]"),
        ("data.select_split", "test"),
        ("loss.name", "nope"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(recipe_file, flag, value):
    with pytest.raises(ConfigError, match=flag):
        load_recipe(recipe_file, {flag: value})


def test_checkpoints_make_no_other_recipe(recipe_file):
    often = load_recipe(recipe_file, {"run.checkpoint_steps": "1"})
    assert often.hash == load_recipe(recipe_file).hash


def test_every_loss_that_a_recipe_can_name_is_there():
    losses = pytest.importorskip("mmperson.training.losses")
    assert set(get_args(LossConfig.model_fields["name"].annotation)) == set(losses.LOSSES)


def test_a_plateau_needs_a_metric_that_may_get_better(recipe_file):
    wanted = {"optim.schedule": "plateau", "data.held_out": "0"}
    assert load_recipe(recipe_file, wanted).optim.schedule == "plateau"
    with pytest.raises(ConfigError, match="select_metric other than last"):
        load_recipe(recipe_file, {**wanted, "run.select_metric": "last"})
