"""Load a recipe from a YAML file, with strict checks.

Dotted flags (``--optim.lr 1e-4``) override YAML, which overrides defaults. An unknown key is an
error that suggests the nearest key.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from mmperson.config.encoders import encoder_sections
from mmperson.config.recipe import Recipe
from mmperson.config.section import Section
from mmperson.config.strict_yaml import read_yaml
from mmperson.errors import ConfigError, did_you_mean
from mmperson.preprocessing.spec import INPUTS

MAX_RECIPE_BYTES = 256 * 1024
MAX_PROBLEMS = 10
"""Wrong keys and values that one message lists."""
_LONGEST_KEY = 60


def load_recipe(path: str | Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe and apply dotted overrides.

    Args:
        path: YAML file.
        overrides: Dotted key to YAML value, for example ``{"optim.lr": "1e-4"}``.

    Returns:
        The resolved recipe.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"The recipe {str(path)!r} is not a file.")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RECIPE_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recipe {str(path)!r} cannot be read: {error}.") from error
    if len(raw) > MAX_RECIPE_BYTES:
        raise ConfigError(f"The recipe {str(path)!r} is larger than {MAX_RECIPE_BYTES} bytes.")
    try:
        content = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The recipe {str(path)!r} is not valid YAML: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The recipe {str(path)!r} must be a mapping of sections.")
    for dotted, value in (overrides or {}).items():
        _override(content, dotted, value)
    return parse_recipe(content, source=str(path))


def parse_recipe(content: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe's content; ``source`` names it in errors.

    Raises:
        ConfigError: A key is unknown or a value is wrong.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        problems = error.errors()
        lines = [_explain(problem) for problem in problems[:MAX_PROBLEMS]]
        if len(problems) > MAX_PROBLEMS:
            lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
        raise ConfigError(f"{source}: " + "; ".join(lines) + ".") from error


def _override(content: dict[str, Any], dotted: str, value: str) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--{dotted}: {section!r} is not a section.")
        content = inner
    try:
        content[key] = _number_or_value(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{dotted}: {reprlib.repr(value)} is not a valid value.") from error


def _number_or_value(value: str) -> Any:
    # YAML 1.1 reads 1e-4 as text.
    try:
        return float(value) if "e" in value.lower() else read_yaml(value)
    except ValueError:
        return read_yaml(value)


def _explain(problem: Any) -> str:
    keys, section = _follow(problem["loc"])
    where = ".".join(map(_short, keys)) or "recipe"
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(keys[-1], list(section.model_fields))
        return f"unknown key {where!r}" + (f" ({hint})" if hint else "")
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    if problem["type"] == "union_tag_invalid":
        name, known = problem["ctx"]["tag"], problem["ctx"]["expected_tags"].replace("'", "")
        hint = did_you_mean(name, known.split(", "))
        end = f" ({hint})" if hint else ""
        return f"'{where}.name' is {reprlib.repr(name)}; there are {known}{end}"
    why = problem["msg"].removeprefix("Value error, ")  # pydantic's, for an error of our own
    return f"{where!r} is {reprlib.repr(problem['input'])}: {why}"


def _short(key: str) -> str:
    return key if len(key) <= _LONGEST_KEY else key[:_LONGEST_KEY] + "…"


def _follow(location: Sequence[Any]) -> tuple[list[str], type[Section]]:
    """Return the keys of a pydantic location without component names, and the last section."""
    keys: list[str] = []
    section: type[Section] = Recipe
    choices: dict[str, type[Section]] = {}
    for part in map(str, location):
        if part in choices:
            section, choices = choices[part], {}
            continue
        keys.append(part)
        if part in section.model_fields:
            annotation = section.model_fields[part].annotation
            nested = encoder_sections(part) if part in INPUTS else _sections_in(annotation)
            if len(nested) == 1:
                section = nested[0]
            choices = {s.model_fields["name"].default: s for s in nested if len(nested) > 1}
    return keys, section


def _sections_in(annotation: Any) -> Sequence[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for option in get_args(annotation) for section in _sections_in(option)]
