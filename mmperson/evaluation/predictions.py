"""Prediction files: CSV with the columns ``sample_id,pred_O,pred_C,pred_E,pred_A,pred_N``.

The format of published First Impressions results. ``pred_N`` holds emotional stability, as the
corpus does. A sample is the clip's name, with or without the ending of a media file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.evaluation.arrays import Array, score_table
from mmperson.files import atomic_write
from mmperson.media.folders import VIDEO_SUFFIXES
from mmperson.traits import LETTERS

MEAN_RANGE: Final = (-1.0, 2.0)
"""Where the mean of a trait's scores must lie. Scores are on [0, 1]; regressors may leave it."""

LARGEST: Final = 1e6
"""Largest score, without its sign: beyond it, squares and sums lose all meaning."""

COLUMNS: Final = ("sample_id", *(f"pred_{letter}" for letter in LETTERS))


@dataclass(frozen=True)
class Predictions:
    """The content of a prediction file.

    Attributes:
        sample_id: Names of the samples, each once.
        scores: float64 (sample, trait), in the order of ``TRAITS``.
    """

    sample_id: tuple[str, ...]
    scores: Array

    def align(self, sample_id: Iterable[str]) -> Array:
        """Return the scores of the wanted samples, float64 (wanted, trait), NaN where none is."""
        place = {sample_key(name): i for i, name in enumerate(self.sample_id)}
        found = np.array([place.get(sample_key(name), -1) for name in sample_id], dtype=np.int64)
        padded = np.vstack([self.scores, np.full((1, len(LETTERS)), np.nan)])
        return np.asarray(padded[found], dtype=np.float64)

    def unknown(self, sample_id: Iterable[str]) -> tuple[str, ...]:
        """Return the samples that are not among the given ones."""
        known = {sample_key(name) for name in sample_id}
        return tuple(name for name in self.sample_id if sample_key(name) not in known)


def sample_key(name: str) -> str:
    """Return a sample's name without the ending of a media file.

    >>> sample_key("--Ymqszjv54.000.mp4")
    '--Ymqszjv54.000'
    """
    stem, dot, ending = name.rpartition(".")
    return stem if (dot + ending).lower() in VIDEO_SUFFIXES else name


def read_predictions(path: str | Path) -> Predictions:
    """Read a prediction file.

    Args:
        path: CSV file in UTF-8 with a header; more columns than ``COLUMNS`` are ignored.

    Returns:
        Its samples in the order of the file.

    Raises:
        DataError: The file cannot be read, a column is missing, it holds no row, a row has no
            sample, repeats one or has a score that is no finite number, or the scores are on
            another scale than [0, 1].
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} lacks the columns {', '.join(missing)}.",
                    hint=f"A prediction file starts with the line {','.join(COLUMNS)}.",
                )
            lines = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a prediction file: {error}") from error
    if not lines:
        raise DataError(f"{path} holds no predictions.")
    samples = [(number, _sample(path, number, row)) for number, row in lines]
    _check_repeats(path, samples)
    scores = [
        [_score(path, number, row, column) for column in COLUMNS[1:]] for number, row in lines
    ]
    table = score_table(scores)
    _check_scale(path, samples, table)
    return Predictions(tuple(name for _, name in samples), table)


def write_predictions(
    path: str | Path, sample_id: Sequence[str] | npt.NDArray[np.str_], scores: npt.ArrayLike
) -> int:
    """Write a prediction file that ``read_predictions`` gives back to the last digit.

    Args:
        path: File to write; an existing one is replaced.
        sample_id: (sample,), names of the samples.
        scores: float (sample, trait); rows with NaN are left out.

    Returns:
        The number of rows written.

    Raises:
        DataError: The lengths differ.
        UsageError: The file cannot be written.
    """
    table = score_table(scores)
    if len(sample_id) != len(table):
        raise DataError(f"{len(sample_id)} samples and {len(table)} rows of scores differ.")
    kept = np.asarray(np.isfinite(table).all(axis=1))
    with (
        atomic_write(Path(path)) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, values, whole in zip(sample_id, table.tolist(), kept.tolist(), strict=True):
            if whole:
                writer.writerow([str(name), *map(repr, values)])
    return int(kept.sum())


def _sample(path: str | Path, number: int, row: dict[str, str | None]) -> str:
    name = row["sample_id"]
    if not name:
        raise DataError(f"{path}, line {number}: there is no sample_id.")
    return name


def _score(path: str | Path, number: int, row: dict[str, str | None], column: str) -> float:
    text = row[column]
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{path}, line {number}, sample {row['sample_id']!r}: {column} is {text!r}; "
            "a finite number is needed."
        )
    return value


def _check_repeats(path: str | Path, samples: list[tuple[int, str]]) -> None:
    first: dict[str, int] = {}
    repeats = []
    for number, name in samples:
        line = first.setdefault(sample_key(name), number)
        if line != number:
            repeats.append(f"{name!r} in lines {line} and {number}")
    if repeats:
        raise DataError(
            f"{path} holds {len(repeats)} samples more than once.", findings=repeats[:10]
        )


def _check_scale(path: str | Path, samples: list[tuple[int, str]], scores: Array) -> None:
    hint = "Scores are on [0, 1], as the ratings are."
    for row, trait in np.argwhere(np.abs(scores) > LARGEST):
        number, name = samples[row]
        raise DataError(
            f"{path}, line {number}, sample {name!r}: {COLUMNS[1 + trait]} is "
            f"{scores[row, trait]:g}.",
            hint=hint,
        )
    low, high = MEAN_RANGE
    for column, mean in zip(COLUMNS[1:], scores.mean(axis=0), strict=True):
        if not low <= mean <= high:
            raise DataError(f"{path}: the mean of {column} is {mean:g}.", hint=hint)
