"""Your own corpus: a folder with clips and one table of ratings.

The folder has ``manifest.csv`` or ``manifest.parquet`` and the clips that it names. Columns, ``*``
is optional::

    path                 the clip, relative to the folder
    openness, conscientiousness, extraversion, agreeableness, emotional_stability
                         at least one of them: ratings on [0, 1]
    neuroticism *        instead of emotional_stability, which becomes its complement
    transcript *         text; where it is empty, the transcript file next to the clip is read
    person *             the speaker; without it, every clip counts as another person
    split *              train, validation or test; without it, train
    any other *          an extra column: numbers if all its cells are numbers, else text

For ratings on another scale, append the scale to the column name: ``openness [1 to 7]``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.folds import assign_folds
from mmperson.datasets.manifest import SPLITS, Manifest
from mmperson.datasets.sources.files import read_text
from mmperson.datasets.tables import Table, duplicates, raise_findings, read_csv, read_parquet
from mmperson.errors import DataError
from mmperson.media.transcripts.transcript import find_transcript
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS
from mmperson.traits import TRAITS

_STABILITY: Final = "emotional_stability"
_COMPLEMENT: Final = "neuroticism"
_OWN_COLUMNS: Final = ("path", "transcript", "person", "split")
_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_TRAIT_COLUMN: Final = re.compile(
    rf"({'|'.join(TRAITS)}|{_COMPLEMENT})(?:\s*\[\s*({_NUMBER})\s+to\s+({_NUMBER})\s*\])?"
)


def import_folder(folder: str | Path) -> Manifest:
    """Read your own corpus; rows keep the table's order.

    Args:
        folder: See the module docstring.

    Returns:
        Every row of the table. ``sample_id`` is the path without its extension, ``source_id`` the
        person; folds share no person. Traits without a column are NaN.

    Raises:
        DataError: The table is missing or has invalid rows.
        MissingExtra: The table is Parquet and pyarrow is not installed.
    """
    folder = Path(folder)
    table = _read_table(folder)
    table.require(("path",))
    findings: list[str] = []
    clips = [
        _clip(folder, path, place, findings)
        for path, place in zip(table.columns["path"], table.places, strict=True)
    ]
    names = [_sample_id(path) for path in table.columns["path"]]
    findings += [f"{name!r} names two clips" for name in duplicates(filter(None, names))]
    targets, trait_columns = _targets(table, findings)
    people = _people(table, names, findings)
    splits = table.columns.get("split", ("train",) * len(table))
    findings += [
        f"{place}: split is {split!r}; there are {', '.join(SPLITS)}"
        for place, split in zip(table.places, splits, strict=True)
        if split not in SPLITS
    ]
    if not len(table):
        findings.append("there are no rows")
    transcripts = _transcripts(folder, table, clips, findings)
    raise_findings(findings, f"{str(table.path)!r} has invalid rows.")
    return Manifest(
        sample_id=np.array(names, dtype=np.str_),
        source_id=np.array(people, dtype=np.str_),
        split=np.array(splits, dtype=np.str_),
        fold=assign_folds(people),
        clip=tuple(str(clip) for clip in clips),
        transcript=transcripts,
        targets=targets,
        descriptors=np.full((len(table), len(DESCRIPTORS)), np.nan, dtype=np.float32),
        extras=_extras(table, {*_OWN_COLUMNS, *trait_columns}),
        provenance={
            "corpus": folder.resolve().name,
            "terms": "your own",
            f"sha256 {table.path.name}": table.sha256,
        },
    )


def _read_table(folder: Path) -> Table:
    readers = {"manifest.csv": read_csv, "manifest.parquet": read_parquet}
    names = [name for name in readers if (folder / name).is_file()]
    if len(names) != 1:
        actual = "both" if names else "neither"
        raise DataError(
            f"{str(folder)!r} must have manifest.csv or manifest.parquet; it has {actual}.",
        )
    return readers[names[0]](folder / names[0])


def _sample_id(path: str) -> str:
    return path and str(PurePosixPath(path)).removesuffix(PurePosixPath(path).suffix)


def _clip(folder: Path, path: str, place: str, findings: list[str]) -> Path | None:
    """Return a clip's path; None with a finding if it is missing or outside the folder."""
    problem = None
    if not path:
        problem = "path is empty"
    elif PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor:
        problem = f"the path {path!r} is absolute; it must be relative to the folder"
    elif ".." in PurePosixPath(path).parts or "\\" in path or "\0" in path:
        problem = f"the path {path!r} must not contain '..' or backslashes"
    else:
        clip = folder.resolve() / path
        if not os.path.isfile(clip):  # Path.is_file raises on names that are too long
            problem = f"there is no clip {path!r}"
        elif _is_outside(clip, folder):
            problem = f"the clip {path!r} is a link to outside the folder"
        else:
            return clip
    findings.append(f"{place}: {problem}")
    return None


def _is_outside(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def _targets(table: Table, findings: list[str]) -> tuple[npt.NDArray[np.float64], set[str]]:
    """Return the ratings on [0, 1], float64 (row, trait), and their column names."""
    targets = np.full((len(table), len(TRAITS)), np.nan)
    columns: dict[str, str] = {}
    for name in table.columns:
        match = _TRAIT_COLUMN.fullmatch(name)
        if match is None:
            continue
        trait = _STABILITY if match[1] == _COMPLEMENT else match[1]
        low, high = float(match[2] or 0), float(match[3] or 1)
        if trait in columns:
            findings.append(f"{columns[trait]!r} and {name!r} both define {trait}")
        elif low >= high:
            findings.append(f"the scale of {name!r} must be ascending")
        else:
            values = (table.numbers(name, findings, low, high) - low) / (high - low)
            is_complement = match[1] == _COMPLEMENT
            targets[:, TRAITS.index(trait)] = 1.0 - values if is_complement else values
        columns[trait] = name
    if not columns:
        findings.append(f"there is no trait column; the traits are {', '.join(TRAITS)}")
    return targets, set(columns.values())


def _people(table: Table, names: Sequence[str], findings: list[str]) -> Sequence[str]:
    people = table.columns.get("person")
    if people is None:
        return names
    findings += table.empty_cells("person")
    return people


def _transcripts(
    folder: Path, table: Table, clips: Sequence[Path | None], findings: list[str]
) -> tuple[str, ...]:
    """Return the transcript of each clip: the table's, else that of the file next to it."""
    cells = table.columns.get("transcript", ("",) * len(table))
    texts: list[str] = []
    for text, clip, place in zip(cells, clips, table.places, strict=True):
        sidecar = find_transcript(clip) if clip and not text else None
        if sidecar and _is_outside(sidecar, folder):
            findings.append(f"{place}: {sidecar.name!r} is a link to outside the folder")
            continue
        try:
            texts.append(text or read_text(sidecar))
        except DataError as error:
            findings.append(f"{place}: {error}")
    return tuple(texts)


def _extras(table: Table, known: set[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the other columns, float64 where all cells are numbers, else str; each (row,)."""
    return {
        name: table.numbers(name, []) if table.is_numeric(name) else np.array(cells, dtype=np.str_)
        for name, cells in table.columns.items()
        if name not in known
    }
