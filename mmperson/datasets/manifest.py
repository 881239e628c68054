"""A corpus as one table: a row per clip with its path, labels, transcript and published features.

Every later step reads only this table. On disk it is one Parquet file: a column per trait,
``descriptors`` as a list of 26, and ``extra.<name>`` for columns that only some corpora have. The
file's metadata holds the schema version, the descriptor names and the provenance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.tables import duplicates, import_pyarrow
from mmperson.errors import DataError
from mmperson.files import atomic_write, write_errors
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION: Final = 1

SPLITS: Final = ("train", "validation", "test")

_METADATA_KEY: Final = b"mmperson.manifest"
_TEXT_COLUMNS: Final = ("sample_id", "source_id", "split")
_EXTRA: Final = "extra."
_REIMPORT: Final = "Re-create the manifest with: mmperson data import"


@dataclass(frozen=True, eq=False)
class Manifest:
    """The rows of a corpus, column by column.

    Attributes:
        sample_id: str (row,), unique name of the clip, without a file extension.
        source_id: str (row,), source video or person of the clip.
        split: str (row,), the publisher's split, one of ``SPLITS``.
        fold: int64 (row,), source-disjoint fold from 0; -1 for none.
        clip: Path of each clip's file, None without one. ``read_manifest`` returns absolute paths.
        transcript: Text of each clip, empty without one.
        targets: float64 (row, trait) on [0, 1], in the order of ``TRAITS``.
        descriptors: float32 (row, descriptor), in the order of ``DESCRIPTORS``; a row of NaN where
            unknown.
        extras: Other columns (row,): float64 (NaN where unknown), int64 (-1 where unknown) or str.
        provenance: The corpus, its terms, and the hashes of its files.

    Raises:
        DataError: The shapes of the columns differ, or a split name is unknown.
    """

    sample_id: npt.NDArray[np.str_]
    source_id: npt.NDArray[np.str_]
    split: npt.NDArray[np.str_]
    fold: npt.NDArray[np.int64]
    clip: tuple[str | None, ...]
    transcript: tuple[str, ...]
    targets: npt.NDArray[np.float64]
    descriptors: npt.NDArray[np.float32]
    extras: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        findings = [*_shape_findings(self), *_split_findings(self.split)]
        if findings:
            raise DataError("The manifest's columns are inconsistent.", findings=findings)

    def __len__(self) -> int:
        return len(self.sample_id)

    def select(self, rows: npt.ArrayLike) -> Manifest:
        """Return selected rows.

        Args:
            rows: bool (row,), a mask; or int (selected,), row numbers in the new order.
        """
        rows = np.asarray(rows)
        if rows.dtype == np.bool_ and rows.shape != (len(self),):
            raise ValueError(f"a mask of shape ({len(self)},) is needed, not {rows.shape}")
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        return replace(
            self,
            sample_id=self.sample_id[chosen],
            source_id=self.source_id[chosen],
            split=self.split[chosen],
            fold=self.fold[chosen],
            clip=tuple(self.clip[row] for row in chosen),
            transcript=tuple(self.transcript[row] for row in chosen),
            targets=self.targets[chosen],
            descriptors=self.descriptors[chosen],
            extras={name: column[chosen] for name, column in self.extras.items()},
        )

    def where_split(self, name: str) -> Manifest:
        """Return the rows of one split, one of ``SPLITS``."""
        if name not in SPLITS:
            raise DataError(f"There is no split {name!r}; there are {', '.join(SPLITS)}.")
        return self.select(self.split == name)


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a manifest as a Parquet file, atomically.

    Clip paths below the file's folder are stored relative to it, so that the folder can be moved.

    Args:
        manifest: The rows.
        path: The file to write; missing folders are created.

    Raises:
        MissingExtra: pyarrow is not installed.
        UsageError: The file cannot be written.
    """
    pa, pq = import_pyarrow()
    path = Path(path)
    folder = path.parent.resolve()
    columns: dict[str, Any] = {name: pa.array(getattr(manifest, name)) for name in _TEXT_COLUMNS}
    columns |= {
        "fold": pa.array(manifest.fold),
        "clip": pa.array([_relative(clip, folder) for clip in manifest.clip], pa.string()),
        "transcript": pa.array(manifest.transcript, pa.string()),
    }
    columns |= {trait: pa.array(manifest.targets[:, i]) for i, trait in enumerate(TRAITS)}
    columns["descriptors"] = pa.FixedSizeListArray.from_arrays(
        pa.array(manifest.descriptors.astype(np.float32).ravel()), len(DESCRIPTORS)
    )
    columns |= {_EXTRA + name: pa.array(column) for name, column in manifest.extras.items()}
    facts = {
        "schema_version": SCHEMA_VERSION,
        "descriptors": DESCRIPTORS,
        "provenance": dict(manifest.provenance),
    }
    table = pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(facts)})
    with write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest and make its clip paths absolute.

    Args:
        path: A file of ``write_manifest``.

    Raises:
        DataError: The file is missing, malformed, not a manifest, or has another schema version.
        MissingExtra: pyarrow is not installed.
    """
    pa, pq = import_pyarrow()
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no manifest {str(path)!r}.", hint=_REIMPORT)
    try:
        # Not read_table, which turns folder names such as split=test into columns.
        with pq.ParquetFile(path) as file:
            table = file.read()
        names = table.schema.names
    except MemoryError:  # includes pyarrow's; the file may be intact
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names not in UTF-8
        raise DataError(f"{str(path)!r} is not a readable Parquet file: {error}.") from error
    if duplicates(names):
        raise DataError(f"{str(path)!r} has duplicate column names.", hint=_REIMPORT)
    facts = _facts(table, path)
    try:
        return _from_table(table, facts, path.parent.resolve())
    except DataError as error:
        raise DataError(
            f"{str(path)!r} is an invalid manifest.", findings=error.findings, hint=_REIMPORT
        ) from error


def _facts(table: pa.Table, path: Path) -> dict[str, Any]:
    stored = (table.schema.metadata or {}).get(_METADATA_KEY)
    if stored is None:
        raise DataError(f"{str(path)!r} is a Parquet file, but not a manifest.", hint=_REIMPORT)
    try:
        facts = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} is malformed: its metadata is not JSON: {error}."
        ) from error
    if not isinstance(facts, dict):
        raise DataError(
            f"{str(path)!r} is malformed: its metadata is not a JSON object.", hint=_REIMPORT
        )
    for name, expected in (("schema_version", SCHEMA_VERSION), ("descriptors", [*DESCRIPTORS])):
        if facts.get(name) != expected:
            raise DataError(
                f"{str(path)!r} was written with {name} {facts.get(name)}; "
                f"this mmperson reads {expected}.",
                hint=_REIMPORT,
            )
    if not isinstance(facts.get("provenance"), dict):
        raise DataError(f"{str(path)!r} has no provenance.", hint=_REIMPORT)
    return facts


def _from_table(table: pa.Table, facts: dict[str, Any], folder: Path) -> Manifest:
    required = (*_TEXT_COLUMNS, "fold", "clip", "transcript", *TRAITS, "descriptors")
    missing = [
        f"the column {name!r} is missing" for name in required if name not in table.schema.names
    ]
    if missing:
        raise DataError("Columns are missing.", findings=missing)
    try:
        clips = table["clip"].to_pylist()
        return Manifest(
            **{name: _strings(table[name]) for name in _TEXT_COLUMNS},
            fold=_integers(table["fold"]),
            clip=tuple(None if clip is None else str(folder / clip) for clip in clips),
            transcript=tuple(map(str, table["transcript"].to_pylist())),
            targets=np.stack([np.asarray(table[t], dtype=np.float64) for t in TRAITS], axis=1),
            descriptors=_lists(table["descriptors"], len(DESCRIPTORS)),
            extras={
                name.removeprefix(_EXTRA): _extra(table[name])
                for name in table.schema.names
                if name.startswith(_EXTRA)
            },
            provenance=facts["provenance"],
        )
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise DataError("A column has a wrong type.", findings=[str(error)]) from error


def _strings(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    values = column.to_pylist()
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a column of names holds values other than text")
    return np.array(values, dtype=np.str_)


def _integers(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    if column.null_count or np.asarray(column).dtype.kind not in "iu":
        raise TypeError("the folds hold values other than integers")
    return np.asarray(column, dtype=np.int64)


def _lists(column: pa.ChunkedArray, size: int) -> npt.NDArray[np.float32]:
    flat = np.asarray(column.combine_chunks().flatten(), dtype=np.float32)
    if len(flat) != len(column) * size:
        raise ValueError(f"a row needs {size} descriptors")
    return flat.reshape(len(column), size)


def _extra(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    import pyarrow as pa

    return _strings(column) if pa.types.is_string(column.type) else np.asarray(column)


def _relative(clip: str | None, folder: Path) -> str | None:
    if clip is not None and Path(clip).is_relative_to(folder):
        return Path(clip).relative_to(folder).as_posix()
    return clip


def _shape_findings(manifest: Manifest) -> list[str]:
    rows = len(manifest.sample_id)
    shapes = {"targets": (rows, len(TRAITS)), "descriptors": (rows, len(DESCRIPTORS))}
    columns = {column.name: getattr(manifest, column.name) for column in fields(manifest)}
    columns |= columns.pop("extras")
    del columns["provenance"]
    actual = {n: c.shape if isinstance(c, np.ndarray) else (len(c),) for n, c in columns.items()}
    return [
        f"{name!r} has shape {shape}, not {shapes.get(name, (rows,))}"
        for name, shape in actual.items()
        if shape != shapes.get(name, (rows,))
    ]


def _split_findings(split: npt.NDArray[np.str_]) -> list[str]:
    return [
        f"{name!r} is not a split; there are {', '.join(SPLITS)}"
        for name in np.unique(split).tolist()
        if name not in SPLITS
    ]
