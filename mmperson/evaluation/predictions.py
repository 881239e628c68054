"""Prediction files: CSV with the columns ``sample_id,pred_O,pred_C,pred_E,pred_A,pred_N``.

This is the format of published First Impressions results. ``pred_N`` is emotional stability, as in
the corpus. A sample id is the clip's name, with or without its file extension.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.tables import raise_findings, read_csv, write_csv
from mmperson.errors import DataError
from mmperson.evaluation.arrays import Array, score_table
from mmperson.media.folders import VIDEO_SUFFIXES
from mmperson.traits import LETTERS

MEAN_RANGE: Final = (-1.0, 2.0)
"""Range of the mean of a trait's scores; single scores of regressors may leave [0, 1]."""

LARGEST: Final = 1e6
"""Largest absolute score: beyond it, sums of squares lose all precision."""

COLUMNS: Final = ("sample_id", *(f"pred_{letter}" for letter in LETTERS))


@dataclass(frozen=True)
class Predictions:
    """Content of a prediction file.

    Attributes:
        sample_id: Unique names of the samples.
        scores: float64 (sample, trait), in the order of ``TRAITS``.
    """

    sample_id: tuple[str, ...]
    scores: Array

    def align(self, sample_id: Iterable[str]) -> Array:
        """Return the scores of these samples, float64 (sample, trait), NaN where missing."""
        place = {sample_key(name): i for i, name in enumerate(self.sample_id)}
        rows = np.array([place.get(sample_key(name), -1) for name in sample_id], dtype=np.int64)
        padded = np.vstack([self.scores, np.full((1, len(LETTERS)), np.nan)])
        return np.asarray(padded[rows], dtype=np.float64)

    def unknown(self, sample_id: Iterable[str]) -> tuple[str, ...]:
        """Return the samples that are not in ``sample_id``."""
        known = {sample_key(name) for name in sample_id}
        return tuple(name for name in self.sample_id if sample_key(name) not in known)


def sample_key(name: str) -> str:
    """Return a sample's name without the extension of a media file.

    >>> sample_key("--Ymqszjv54.000.mp4")
    '--Ymqszjv54.000'
    """
    stem, dot, ending = name.rpartition(".")
    return stem if (dot + ending).lower() in VIDEO_SUFFIXES else name


def read_predictions(path: str | Path) -> Predictions:
    """Read a prediction file.

    Args:
        path: CSV file in UTF-8 with a header; columns other than ``COLUMNS`` are ignored.

    Returns:
        The samples in file order.

    Raises:
        DataError: The file cannot be read, lacks a column or rows, has an empty or duplicate
            sample id or a score that is not a finite number, or is on another scale than [0, 1].
    """
    table = read_csv(Path(path))
    table.require(COLUMNS, hint=f"A prediction file starts with the line {','.join(COLUMNS)}.")
    if not len(table):
        raise DataError(f"{str(path)!r} has no predictions.")
    findings = [finding for column in COLUMNS for finding in table.empty_cells(column)]
    samples = table.columns["sample_id"]
    first: dict[str, str] = {}
    for name, place in zip(samples, table.places, strict=True):
        if name and (earlier := first.setdefault(sample_key(name), place)) != place:
            findings.append(f"{place}: {name!r} is a duplicate of {earlier}")
    scores = [table.numbers(column, findings, -LARGEST, LARGEST) for column in COLUMNS[1:]]
    low, high = MEAN_RANGE
    for column, values in zip(COLUMNS[1:], scores, strict=True):
        if not findings and not low <= values.mean() <= high:
            findings.append(f"the mean of {column} is {values.mean():g}")
    hint = "Scores are on [0, 1], as the ratings are."
    raise_findings(findings, f"{str(path)!r} has invalid predictions.", hint=hint)
    return Predictions(samples, np.stack(scores, axis=1))


def write_predictions(
    path: str | Path, sample_id: Sequence[str] | npt.NDArray[np.str_], scores: npt.ArrayLike
) -> int:
    """Write a prediction file that ``read_predictions`` reads back exactly.

    Args:
        path: File to write; an existing one is replaced.
        sample_id: (sample,), names of the samples.
        scores: float (sample, trait); rows with NaN are skipped.

    Returns:
        The number of rows written.

    Raises:
        DataError: The lengths differ.
        UsageError: The file cannot be written.
    """
    table = score_table(scores)
    if len(sample_id) != len(table):
        raise DataError(f"{len(sample_id)} samples and {len(table)} rows of scores differ.")
    scored = np.flatnonzero(np.isfinite(table).all(axis=1)).tolist()
    write_csv(
        Path(path),
        COLUMNS,
        ([str(sample_id[row]), *map(repr, table[row].tolist())] for row in scored),
    )
    return len(scored)
