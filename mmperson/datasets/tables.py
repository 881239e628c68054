"""Tables that people write: CSV, and Parquet with the same columns, read as text within limits.

What a cell means is the reader's business; here a table is a rectangle of text, and every row can
be named, so that a finding says where to look.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError, MissingExtra

MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest file that is read, and largest Parquet content once it is unpacked."""

MAX_ROWS: Final = 1_000_000

MAX_FINDINGS: Final = 40
"""How many findings an error lists; the others are counted."""


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        path: Its file.
        sha256: Hash of the file.
        columns: Cells (row,) by column name, without spaces at either end; empty where there is no
            value.
        places: Where each row stands, such as ``line 2``.
    """

    path: Path
    sha256: str
    columns: dict[str, tuple[str, ...]]
    places: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.places)

    def require(self, names: Sequence[str]) -> None:
        """Refuse a table that lacks one of the columns.

        Raises:
            DataError: It does; the message names what is missing and what is there.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise DataError(
                f"{str(self.path)!r} lacks the columns {', '.join(missing)}; "
                f"it has {', '.join(self.columns)}."
            )

    def numbers(
        self, name: str, findings: list[str], low: float = -math.inf, high: float = math.inf
    ) -> npt.NDArray[np.float64]:
        """Return a column as numbers, float64 (row,), NaN where a cell is empty.

        Args:
            name: The column.
            findings: Takes a line for each cell that is no finite number from ``low`` to ``high``.
            low: Lowest value.
            high: Highest value.
        """
        values = np.full(len(self), np.nan)
        for row, cell in enumerate(self.columns[name]):
            number = parse_number(cell) if cell else math.nan
            if number is None:
                findings.append(f"{self.places[row]}: {name} is {cell!r}, no finite number")
            elif number < low or number > high:
                findings.append(
                    f"{self.places[row]}: {name} is {cell}, outside [{low:g}, {high:g}]"
                )
            else:
                values[row] = number
        return values

    def is_numeric(self, name: str) -> bool:
        """Tell whether every cell of a column is empty or a finite number."""
        return all(not cell or parse_number(cell) is not None for cell in self.columns[name])


def read_csv(path: Path, delimiter: str = ",") -> Table:
    """Read a CSV file in UTF-8 whose first line names the columns.

    Args:
        path: The file, at most ``MAX_BYTES`` and ``MAX_ROWS`` long.
        delimiter: What parts the cells.

    Raises:
        DataError: It is missing, too large, not UTF-8 or not rectangular.
    """
    content = read_bytes(path)
    lines = csv.reader(io.StringIO(_decode(content, path), newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    places: list[str] = []
    uneven: list[str] = []
    try:
        header = [name.strip() for name in next(lines, [])]
        _check_header(header, path)
        for cells in lines:
            if not cells:
                continue  # An empty line, as editors leave at the end.
            place = f"line {lines.line_num}"
            if len(cells) != len(header):
                uneven.append(f"{place}: {len(cells)} cells, not {len(header)}")
                continue
            rows.append([cell.strip() for cell in cells])
            places.append(place)
            _check_rows(len(rows), path)
    except csv.Error as error:
        raise DataError(f"Line {lines.line_num} of {str(path)!r} is damaged: {error}.") from error
    refuse(uneven, f"Lines of {str(path)!r} do not fit its header.")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return Table(
        path, hashlib.sha256(content).hexdigest(), dict(zip(header, columns, strict=True)),
        tuple(places),
    )  # fmt: skip


def read_parquet(path: Path) -> Table:
    """Read a Parquet file of text and numbers.

    Args:
        path: The file, at most ``MAX_BYTES``, packed or unpacked, and ``MAX_ROWS`` long.

    Raises:
        DataError: It is missing, too large or damaged.
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet") from error
    content = read_bytes(path)
    try:
        with pq.ParquetFile(io.BytesIO(content)) as file:
            facts = file.metadata
            _check_rows(facts.num_rows, path)
            groups = range(facts.num_row_groups)
            _check_size(sum(facts.row_group(group).total_byte_size for group in groups), path)
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} is no readable Parquet file: {error}.") from error
    _check_header(table.column_names, path)
    return Table(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        columns={
            name: tuple(_text(value) for value in table[name].to_pylist())
            for name in table.column_names
        },
        places=tuple(f"row {row}" for row in range(1, table.num_rows + 1)),
    )


def read_bytes(path: Path) -> bytes:
    """Read a file of at most ``MAX_BYTES``.

    Raises:
        DataError: It is missing, no regular file, or larger.
    """
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    _check_size(len(content), path)
    return content


def parse_number(text: str) -> float | None:
    """Return a finite number, None if the text is none.

    >>> parse_number("1e-4"), parse_number("nan"), parse_number("1_0")
    (0.0001, None, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    # Python reads 1_0 as ten; in a table it is a typing error.
    return number if math.isfinite(number) and "_" not in text else None


def duplicates(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, each once, in their order."""
    return [name for name, count in Counter(names).items() if count > 1]


def refuse(findings: Sequence[str], message: str) -> None:
    """Raise a ``DataError`` that lists the findings, up to ``MAX_FINDINGS``; do nothing if none."""
    if findings:
        more = len(findings) - MAX_FINDINGS
        shown = [*findings[:MAX_FINDINGS], *([f"and {more:,} more"] if more > 0 else [])]
        raise DataError(message, findings=shown)


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"Line {line} of {str(path)!r} is not UTF-8.", hint="Save the table as UTF-8."
        ) from error


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()


def _check_header(names: Sequence[str], path: Path) -> None:
    if not names:
        raise DataError(f"{str(path)!r} is empty; its first line names the columns.")
    findings = [f"column {place} has no name" for place, name in enumerate(names, 1) if not name]
    findings += [f"{name!r} occurs twice" for name in duplicates(filter(None, names))]
    refuse(findings, f"The columns of {str(path)!r} have no proper names.")


def _check_rows(rows: int, path: Path) -> None:
    if rows > MAX_ROWS:
        raise DataError(f"{str(path)!r} has more than {MAX_ROWS:,} rows.")


def _check_size(size: int, path: Path) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{str(path)!r} holds more than {MAX_BYTES:,} bytes.")
