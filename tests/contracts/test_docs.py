"""Links lead somewhere; the reference knows every option, and renamed.md no name that is gone."""

import re
from pathlib import Path

import pytest
import typer

from mmperson.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def verbs():
    """Return name to options of every verb, groups opened."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", {"": command})
        for verb, part in inner.items():
            options = [
                option
                for parameter in part.params
                if parameter.param_type_name == "option"
                for option in (*parameter.opts, *parameter.secondary_opts)
            ]
            found[f"{name} {verb}".strip()] = sorted(set(options) - {"-h", "--help"})
    return found


@pytest.mark.parametrize("verb", verbs())
def test_the_reference_has_every_option_of_a_verb(verb):
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {verb.split()[0]}\n", 1)[1].split("\n## ")[0]
    assert f"mmperson {verb}" in section
    assert not [option for option in verbs()[verb] if option not in section]


def renamed(heading):
    """Return the new names of a table of renamed.md, by last part for names in a module."""
    page = (ROOT / "docs" / "reference" / "renamed.md").read_text(encoding="utf-8")
    rows = page.split(f"\n## {heading}\n")[1].split("\n## ")[0].splitlines()
    cells = [row.rstrip(" |").rpartition(" | ")[2] for row in rows if row.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_renamed_modules_exist():
    paths = [ROOT / "mmperson" / name.replace(".", "/") for name in renamed("Modules")]
    paths = [path.parent / "__init__.py" if path.name == "*" else path for path in paths]
    assert not [path for path in paths if not (path.exists() or path.with_suffix(".py").exists())]


def test_renamed_names_exist():
    modules = (ROOT / "mmperson").rglob("*.py")
    code = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    names = {name.rpartition(".")[2] for name in renamed("Classes, functions and methods")}
    assert len(names) > 50
    assert not [
        name
        for name in names
        if not re.search(rf"\b(?:def|class) {name}\b|^\s*{name}\b[^\n=]*[:=]", code, re.MULTILINE)
    ]
