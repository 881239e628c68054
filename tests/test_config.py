import pytest

from mmperson.config import load_recipe
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
