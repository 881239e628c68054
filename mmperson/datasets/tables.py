"""CSV and Parquet tables as text, within size limits; every row has a location for findings."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError, MissingExtra
from mmperson.files import atomic_write

MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest file, and largest decompressed Parquet content."""

MAX_ROWS: Final = 1_000_000

MAX_FINDINGS: Final = 40
"""Findings that an error lists; the rest is counted."""


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        path: Its file.
        sha256: Hash of the file.
        columns: Stripped cells (row,) by column name; empty where there is no value.
        places: Location of each row, such as ``line 2``.
    """

    path: Path
    sha256: str
    columns: dict[str, tuple[str, ...]]
    places: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.places)

    def require(self, names: Sequence[str], hint: str | None = None) -> None:
        """Check that the table has these columns.

        Raises:
            DataError: A column is missing.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise DataError(
                f"{str(self.path)!r} lacks the columns {', '.join(missing)}; "
                f"it has {', '.join(self.columns)}.",
                hint=hint,
            )

    def empty_cells(self, name: str) -> list[str]:
        """Return a finding for each empty cell of a column."""
        cells = zip(self.places, self.columns[name], strict=True)
        return [f"{place}: {name} is empty" for place, cell in cells if not cell]

    def numbers(
        self, name: str, findings: list[str], low: float = -math.inf, high: float = math.inf
    ) -> npt.NDArray[np.float64]:
        """Return a column as numbers, float64 (row,), NaN where a cell is empty.

        Args:
            name: The column.
            findings: Receives a line for each cell that is not a finite number in [low, high].
            low: Lowest value.
            high: Highest value.
        """
        values = np.full(len(self), np.nan)
        for row, cell in enumerate(self.columns[name]):
            number = parse_number(cell) if cell else math.nan
            if number is None:
                findings.append(f"{self.places[row]}: {name} is {cell!r}, not a finite number")
            elif number < low or number > high:
                findings.append(
                    f"{self.places[row]}: {name} is {cell}, outside [{low:g}, {high:g}]"
                )
            else:
                values[row] = number
        return values

    def is_numeric(self, name: str) -> bool:
        """Return whether every cell of a column is empty or a finite number."""
        return all(not cell or parse_number(cell) is not None for cell in self.columns[name])


def read_csv(path: Path, delimiter: str = ",") -> Table:
    """Read a CSV file in UTF-8 whose first line names the columns.

    Args:
        path: The file, at most ``MAX_BYTES`` and ``MAX_ROWS`` long.
        delimiter: Between cells.

    Raises:
        DataError: The file is missing, too large, not UTF-8 or not rectangular.
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
                continue
            place = f"line {lines.line_num}"
            if len(cells) != len(header):
                uneven.append(f"{place}: {len(cells)} cells, not {len(header)}")
                continue
            rows.append([cell.strip() for cell in cells])
            places.append(place)
            _check_rows(len(rows), path)
    except csv.Error as error:
        raise DataError(f"Line {lines.line_num} of {str(path)!r} is malformed: {error}.") from error
    raise_findings(uneven, f"Lines of {str(path)!r} do not match its header.")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return Table(
        path, hashlib.sha256(content).hexdigest(), dict(zip(header, columns, strict=True)),
        tuple(places),
    )  # fmt: skip


def read_parquet(path: Path) -> Table:
    """Read a Parquet file of text and numbers.

    Args:
        path: The file, at most ``MAX_BYTES``, compressed or not, and ``MAX_ROWS`` long.

    Raises:
        DataError: The file is missing, too large or malformed.
        MissingExtra: pyarrow is not installed.
    """
    pa, pq = import_pyarrow()
    content = read_bytes(path)
    try:
        with pq.ParquetFile(io.BytesIO(content)) as file:
            metadata = file.metadata
            _check_rows(metadata.num_rows, path)
            groups = map(metadata.row_group, range(metadata.num_row_groups))
            _check_size(sum(group.total_byte_size for group in groups), path, MAX_BYTES)
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} is not a readable Parquet file: {error}.") from error
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


def import_pyarrow() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet") from error
    return pyarrow, pyarrow.parquet


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file in UTF-8, atomically.

    Raises:
        UsageError: The file cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_bytes(path: Path, max_bytes: int | None = None) -> bytes:
    """Read a file of at most ``max_bytes``, ``MAX_BYTES`` if None.

    Raises:
        DataError: The path is not a regular file, or the file is larger or cannot be read.
    """
    max_bytes = MAX_BYTES if max_bytes is None else max_bytes
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    _check_size(len(content), path, max_bytes)
    return content


def parse_number(text: str) -> float | None:
    """Return a finite number, or None.

    >>> parse_number("1e-4"), parse_number("nan"), parse_number("1_0")
    (0.0001, None, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    # Python reads 1_0 as ten; in a table it is a typo.
    return number if math.isfinite(number) and "_" not in text else None


def duplicates(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, in order of first occurrence."""
    return [name for name, count in Counter(names).items() if count > 1]


def raise_findings(findings: Sequence[str], message: str, hint: str | None = None) -> None:
    """Raise a ``DataError`` that lists up to ``MAX_FINDINGS`` findings, if there are any."""
    if findings:
        more = len(findings) - MAX_FINDINGS
        listed = [*findings[:MAX_FINDINGS], *([f"and {more:,} more"] if more > 0 else [])]
        raise DataError(message, findings=listed, hint=hint)


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
    raise_findings(findings, f"The column names of {str(path)!r} are invalid.")


def _check_rows(rows: int, path: Path) -> None:
    if rows > MAX_ROWS:
        raise DataError(f"{str(path)!r} has more than {MAX_ROWS:,} rows.")


def _check_size(size: int, path: Path, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(f"{str(path)!r} is larger than {max_bytes:,} bytes.")
