"""Names that hold orders to the terminal: shown on it, and kept as they are in files."""

import csv
import io
import json
import os
import re
import sys
from typing import get_args

import pytest
from typer.testing import CliRunner

from mmperson.cli import app as program
from mmperson.cli.records import Format, render
from mmperson.datasets import write_manifest
from mmperson.errors import UsageError
from mmperson.inference.predictor import load
from tests.conftest import make_corpus

NAMES = [
    "-clip.mp4",
    "--out",
    "two\nlines.mp4",
    "clear\x1b[2J\x1b]0;title\x07.mp4",
    "back\rto the start\b\b.mp4",
    "one byte \x9b31m.mp4",
    "turned \u202e4pm.mp4",
    "[red]markup[/] [link=file:///]x[/link].mp4",
    '=cmd|"quoted",comma;.mp4',
]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # what rich itself writes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def records(tmp_path_factory, demo):
    """A record of each name, with and without an error."""
    folder = tmp_path_factory.mktemp("clips")
    predictor = load()
    good = predictor.predict(demo)
    bad = [predictor.predict(str(folder / name)) for name in NAMES]
    assert all(record.error is not None for record in bad)
    named = [good.model_copy(update={"clip": name, "warnings": (name,)}) for name in NAMES]
    return [*named, *bad]


@pytest.mark.parametrize("form", get_args(Format))
def test_no_format_gives_orders_to_a_terminal(records, form):
    terminal = Terminal()
    text = "".join(render(records, form, terminal, several=True, others=["tension\x1b[2J"]))
    told = COLOUR.sub("", text).replace("\n", "")
    assert told.isprintable()
    assert "markup" in told


def test_files_keep_the_names(records):
    names = [record.clip for record in records]
    table = "".join(render(records, "csv", io.StringIO(), several=True))
    cells = [row["clip"] for row in csv.DictReader(io.StringIO(table, newline=""))]
    assert [os.path.normpath(cell) for cell in cells] == [os.path.normpath(name) for name in names]
    lines = "".join(render(records, "jsonl", io.StringIO(), several=True)).splitlines()
    assert [json.loads(line)["clip"] for line in lines] == names
    whole = "".join(render(records, "json", io.StringIO(), several=True))
    assert [record["clip"] for record in json.loads(whole)] == names


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_of_csv_is_a_formula(records, start):
    name = f"{start}HYPERLINK(A1).mp4"
    record = records[0].model_copy(update={"clip": name, "warnings": ()})
    table = "".join(render([record], "csv", io.StringIO(), several=True))
    (row,) = csv.DictReader(io.StringIO(table, newline=""))
    assert row["clip"] == f"./{name}"
    assert not any(cell.startswith(tuple("=+-@\t\r\n")) for cell in row.values())


def test_clips_of_these_names_are_clips(tmp_path, demo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES[:4]:
        (tmp_path / name).write_bytes(demo.read_bytes())
    result = CliRunner().invoke(program.app, ["predict", "--format", "jsonl", "--", *NAMES[:4]])
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["clip"] for record in found] == NAMES[:4]
    assert all(record["error"] is None for record in found)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_manifest_gives_no_orders_either(tmp_path, monkeypatch, capsys, form):
    corpus = make_corpus(rows=24)
    names = corpus.sample_id.astype("U60")
    names[: len(NAMES)] = NAMES
    object.__setattr__(corpus, "sample_id", names)
    corpus.targets[: len(NAMES), 0] = 7.0
    write_manifest(corpus, tmp_path / "manifest.parquet")
    arguments = ["data", "check", str(tmp_path / "manifest.parquet"), "--format", form]
    monkeypatch.setattr(sys, "argv", ["mmperson", *arguments])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert "labels outside" in told.err
    for text in (told.out, told.err):
        assert COLOUR.sub("", text).replace("\n", "").isprintable()


def test_an_error_gives_no_orders(monkeypatch, capsys):
    def fail() -> None:
        raise UsageError("clear\x1b[2J [red]x[/]\nnext")

    monkeypatch.setattr(program, "app", fail)
    with pytest.raises(SystemExit):
        program.main()
    assert capsys.readouterr().err == "UsageError: clear\\x1b[2J [red]x[/]\nnext\n"
