"""AVI Challenge: asynchronous video interviews, six answers per person, HEXACO scores.

Folder layout, ``*`` is optional::

    train_data.csv                      a line per person: id, scores and other columns
    val_data.csv *                      the same
    test_data.csv *                     the same without scores; or test_data_basic_information.csv
    **/<24 hex>_q<n>_<generic|personality>.mp4      the answers, in any folder
    **/<same>.{txt,srt,vtt,json} *      their transcripts

Scores are on 1..5, per person: all answers of a person share them. HEXACO is not the Big Five. Its
Extraversion, Agreeableness and Conscientiousness map to the traits of the same name, although its
Agreeableness covers patience instead of warmth. Honesty-Humility has no counterpart and becomes an
extra column; openness and emotional stability are NaN. The scores are self-reports, not impressions
by observers.

Source: AVI Challenge, ACM Multimedia 2025, https://avichallenge.github.io.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.folds import assign_folds
from mmperson.datasets.manifest import Manifest
from mmperson.datasets.sources.files import read_sidecar
from mmperson.datasets.tables import Table, duplicates, raise_findings, read_csv
from mmperson.errors import DataError
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS

TRAIT_COLUMNS: Final = (None, "Conscientiousness", "Extraversion", "Agreeableness", None)
"""Columns in the order of ``TRAITS``; None where HEXACO lacks the trait."""

SCORE_COLUMNS: Final = (
    "Honesty-Humility",
    "Integrity",
    "Collegiality",
    "Social_versatility",
    "Development_orientation",
    "Hireability",
)
"""Other targets, kept on 1..5."""

LOWEST, HIGHEST = 1.0, 5.0

_KEY: Final = "id"
_TABLES: Final = {
    "train": ("train_data.csv",),
    "validation": ("val_data.csv",),
    "test": ("test_data.csv", "test_data_basic_information.csv"),
}
_MEDIA: Final = re.compile(r"([0-9a-f]{24})_q([1-9]\d?)_(generic|personality)\.mp4")


@dataclass(frozen=True)
class _Answer:
    path: Path
    person: str
    question: int
    kind: str


def import_avi(folder: str | Path) -> Manifest:
    """Read the corpus; rows are the answers with a clip, sorted by name.

    Args:
        folder: See the module docstring.

    Returns:
        A row per answer. ``source_id`` is the person; folds share no person. A score y becomes
        (y - 1) / 4. ``extras`` has ``question`` (int64), ``kind`` (str, generic or personality),
        the existing columns of ``SCORE_COLUMNS`` (float64, 1 to 5, NaN where unknown), and every
        other column: float64 if all its cells are numbers, else str.

    Raises:
        DataError: A file is missing, malformed or inconsistent with another.
    """
    folder = Path(folder)
    tables = dict(_read_tables(folder))
    if "train" not in tables:
        raise DataError(
            f"{str(folder)!r} is not an AVI corpus.", findings=["expected train_data.csv"]
        )
    people = _people(tables)
    found = sorted(_answers(folder), key=lambda answer: answer.path.stem)
    answers = [answer for answer in found if answer.person in people]
    if not answers:
        raise DataError(
            f"{str(folder)!r} has no clip of the {len(people):,} people in its tables.",
            hint="Clips are named <24 hex digits>_q<n>_<generic or personality>.mp4.",
        )
    names = [answer.path.stem for answer in answers]
    findings = [f"{name} is in two folders" for name in duplicates(names)]
    located = [people[answer.person] for answer in answers]
    values = _columns(tables, findings)
    raise_findings(findings, f"The AVI corpus in {str(folder)!r} is inconsistent.")
    selected = {name: column[[row for _, row in located]] for name, column in values.items()}
    unknown = np.full(len(answers), np.nan)
    traits = [selected.pop(column, unknown) if column else unknown for column in TRAIT_COLUMNS]
    sources = np.array([answer.person for answer in answers], dtype=np.str_)
    without_clip = len(people) - len(np.unique(sources))
    provenance = {
        "corpus": "AVI Challenge",
        "terms": "the challenge's agreement; research only, not for decisions about people",
        "left out": f"{len(found) - len(answers):,} clips of people in no table, "
        f"{without_clip:,} people without a clip",
    }
    provenance |= {f"sha256 {t.path.name}": t.sha256 for t in tables.values()}
    return Manifest(
        sample_id=np.array(names, dtype=np.str_),
        source_id=sources,
        split=np.array([split for split, _ in located], dtype=np.str_),
        fold=assign_folds(sources),
        clip=tuple(str(answer.path) for answer in answers),
        transcript=tuple(read_sidecar(answer.path) for answer in answers),
        targets=(np.stack(traits, axis=1) - LOWEST) / (HIGHEST - LOWEST),
        descriptors=np.full((len(answers), len(DESCRIPTORS)), np.nan, dtype=np.float32),
        extras={
            "question": np.array([answer.question for answer in answers], dtype=np.int64),
            "kind": np.array([answer.kind for answer in answers], dtype=np.str_),
            **selected,
        },
        provenance=provenance,
    )


def _read_tables(folder: Path) -> Iterator[tuple[str, Table]]:
    """Yield the table of each existing split."""
    for split, names in _TABLES.items():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is not None:
            table = read_csv(path)
            required = [column for column in TRAIT_COLUMNS if column and split != "test"]
            table.require((_KEY, *required))
            yield split, table


def _people(tables: dict[str, Table]) -> dict[str, tuple[str, int]]:
    """Return the split and the row over all tables of each person."""
    people: dict[str, tuple[str, int]] = {}
    findings: list[str] = []
    row = 0
    for split, table in tables.items():
        for place, person in zip(table.places, table.columns[_KEY], strict=True):
            if person in people:
                findings.append(f"{table.path.name}, {place}: duplicate person {person}")
            people[person] = split, row
            row += 1
    raise_findings(findings, "A person must have exactly one row.")
    return people


def _columns(tables: dict[str, Table], findings: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return every column except the key over all tables, float64 or str (row,)."""
    scores = {*SCORE_COLUMNS, *TRAIT_COLUMNS}
    names = dict.fromkeys(name for table in tables.values() for name in table.columns)
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in names:
        if name == _KEY:
            continue
        numeric = all(t.is_numeric(name) for t in tables.values() if name in t.columns)
        low, high = (LOWEST, HIGHEST) if name in scores else (-np.inf, np.inf)
        parts: list[npt.NDArray[Any]] = []
        for table in tables.values():
            if name not in table.columns:
                parts.append(np.full(len(table), np.nan if name in scores or numeric else ""))
            elif name in scores or numeric:
                wrong: list[str] = []
                parts.append(table.numbers(name, wrong, low, high))
                findings += [f"{table.path.name}, {finding}" for finding in wrong]
            else:
                parts.append(np.array(table.columns[name], dtype=np.str_))
        columns[name] = np.concatenate(parts)
    return columns


def _answers(folder: Path) -> Iterator[_Answer]:
    for path in sorted(folder.resolve().rglob("*.mp4")):
        if match := _MEDIA.fullmatch(path.name):
            yield _Answer(path, match[1], int(match[2]), match[3])
