"""Tables as text: what is read, what is refused, and what a number is."""

import math
from pathlib import Path

import numpy as np
import pytest

from mmperson.datasets import tables
from mmperson.datasets.tables import (
    MAX_FINDINGS,
    duplicates,
    parse_number,
    raise_findings,
    read_csv,
)
from mmperson.errors import DataError


def test_quotes_line_breaks_and_empty_lines(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbf name , value\r\n"a, b",1\r\n"two\nlines", 2 \r\n\r\n')
    table = read_csv(path)
    assert table.columns == {"name": ("a, b", "two\nlines"), "value": ("1", "2")}
    assert table.places == ("line 2", "line 4")
    assert len(table) == 2
    assert len(table.sha256) == 64


def test_numbers_name_what_is_wrong(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,a\n,b\n-3,c\n9,d\n")
    table = read_csv(path)
    findings: list[str] = []
    np.testing.assert_array_equal(
        table.numbers("x", findings, 0, 5), [1, math.nan, math.nan, math.nan]
    )
    assert findings == ["line 4: x is -3, outside [0, 5]", "line 5: x is 9, outside [0, 5]"]
    assert table.is_numeric("x")
    assert not table.is_numeric("y")


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1_000", "1,5", "0x1", "one", " "])
def test_what_is_no_number(text: str):
    assert parse_number(text) is None
    assert parse_number("-1.5E2") == -150.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,a\n1,2\n", "'a' occurs twice"),
        (b"a,\n1,2\n", "column 2 has no name"),
        (b"a,b\n1\n", "line 2: 1 cells, not 2"),
        (b"a\n\xff\n", "Line 2 of .* is not UTF-8"),
        (b"a\n" + b"x" * 200_000, "Line 2 of .* is malformed"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "t.csv")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n2\n3\n")
    monkeypatch.setattr(tables, "MAX_ROWS", 2)
    with pytest.raises(DataError, match="more than 2 rows"):
        read_csv(path)
    monkeypatch.setattr(tables, "MAX_BYTES", 7)
    with pytest.raises(DataError, match="larger than 7 bytes"):
        read_csv(path)
    for absent in (tmp_path, tmp_path / "absent.csv"):
        with pytest.raises(DataError, match="There is no file"):
            read_csv(absent)


def test_findings_are_listed_up_to_a_cap():
    raise_findings([], "nothing")
    with pytest.raises(DataError) as caught:
        raise_findings([str(number) for number in range(MAX_FINDINGS + 3)], "much")
    assert caught.value.findings[MAX_FINDINGS - 1 :] == (str(MAX_FINDINGS - 1), "and 3 more")
    assert duplicates(["b", "a", "b", "c", "a", "b"]) == ["b", "a"]
