"""YouTube Personality: features of 404 vlogs, one per vlogger, each rated by five people.

Folder layout, ``*`` is optional::

    YouTube-Personality-Personality_impression_scores.csv     Extr Agr Cons Emot Open on 1..7
    YouTube-Personality-audiovisual_features.csv *            21 of the sound, 4 of the picture
    YouTube-Personality-gender.csv *                          Male or Female
    transcripts/<vlogId>.txt *                                transcript of the whole vlog

The tables are separated by spaces. The videos are not published. There is no official split: every
row is ``train``.

Source: Biel and Gatica-Perez, "The YouTube Lens: Crowdsourced Personality Impressions and
Audiovisual Analysis of Vlogs" (IEEE Transactions on Multimedia 15(1), 2013); transcripts: Biel et
al., "Hi YouTube! Personality Impressions and Verbal Content in Social Video" (ICMI 2013).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.folds import assign_folds
from mmperson.datasets.manifest import Manifest
from mmperson.datasets.sources.files import read_text
from mmperson.datasets.tables import Table, raise_findings, read_csv
from mmperson.errors import DataError
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS

TRAIT_COLUMNS: Final = ("Open", "Cons", "Extr", "Agr", "Emot")
"""Columns in the order of ``TRAITS``; ``Emot`` is emotional stability."""

LOWEST, HIGHEST = 1.0, 7.0
"""The scale of the questionnaire (Ten-Item Personality Inventory)."""

_PREFIX: Final = "YouTube-Personality-"
_SCORES: Final = f"{_PREFIX}Personality_impression_scores.csv"
_FEATURES: Final = f"{_PREFIX}audiovisual_features.csv"
_GENDERS: Final = f"{_PREFIX}gender.csv"
_KEY: Final = "vlogId"
_VIDEO_FEATURE: Final = "hogv."  # Motion statistics; all other features are acoustic.


def import_youtube(folder: str | Path) -> Manifest:
    """Read the corpus; rows keep the published order.

    A score y becomes (y - 1) / 6. ``Emot`` is Emotional Stability, according to the README.

    Args:
        folder: See the module docstring.

    Returns:
        Every vlog, without clips. ``source_id`` is the vlogger. ``extras`` has, if their files
        exist, ``audio.<name>`` and ``video.<name>`` (float64, published features, NaN where
        unknown) and ``gender`` (str, empty where unknown).

    Raises:
        DataError: A file is missing, malformed or inconsistent with another.
    """
    folder = Path(folder)
    if not (folder / _SCORES).is_file():
        raise DataError(
            f"{str(folder)!r} is not YouTube Personality.", findings=[f"expected {_SCORES}"]
        )
    scores = read_csv(folder / _SCORES, delimiter=" ")
    scores.require((_KEY, *TRAIT_COLUMNS))
    findings = _id_findings(scores)
    columns = [scores.numbers(name, findings, LOWEST, HIGHEST) for name in TRAIT_COLUMNS]
    raise_findings(findings, f"{str(scores.path)!r} is malformed.")
    vlogs = scores.columns[_KEY]
    provenance = {
        "corpus": "YouTube Personality",
        "terms": "research only, not for decisions about people",
        f"sha256 {_SCORES}": scores.sha256,
    }
    extras: dict[str, npt.NDArray[Any]] = {}
    for name in (_FEATURES, _GENDERS):
        if (folder / name).is_file():
            table = read_csv(folder / name, delimiter=" ")
            extras |= _read_features(table, vlogs) if name == _FEATURES else _genders(table, vlogs)
            provenance[f"sha256 {name}"] = table.sha256
    people = np.array(vlogs, dtype=np.str_)
    return Manifest(
        sample_id=people,
        source_id=people,
        split=np.full(len(vlogs), "train"),
        fold=assign_folds(people),
        clip=(None,) * len(vlogs),
        transcript=tuple(read_text(folder / "transcripts" / f"{vlog}.txt") for vlog in vlogs),
        targets=(np.stack(columns, axis=1) - LOWEST) / (HIGHEST - LOWEST),
        descriptors=np.full((len(vlogs), len(DESCRIPTORS)), np.nan, dtype=np.float32),
        extras=extras,
        provenance=provenance,
    )


def _read_features(table: Table, vlogs: tuple[str, ...]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the published features by name, float64 (row,)."""
    rows, findings = _rows(table)
    features: dict[str, npt.NDArray[np.float64]] = {}
    for name in table.columns:
        if name != _KEY:
            modality = "video" if name.startswith(_VIDEO_FEATURE) else "audio"
            values = np.append(table.numbers(name, findings), np.nan)
            features[f"{modality}.{name}"] = values[[rows.get(vlog, -1) for vlog in vlogs]]
    raise_findings(findings, f"{str(table.path)!r} is malformed.")
    return features


def _genders(table: Table, vlogs: tuple[str, ...]) -> dict[str, npt.NDArray[np.str_]]:
    table.require((_KEY, "gender"))
    rows, findings = _rows(table)
    raise_findings(findings, f"{str(table.path)!r} is malformed.")
    genders = (*table.columns["gender"], "")
    return {"gender": np.array([genders[rows.get(vlog, -1)] for vlog in vlogs], dtype=np.str_)}


def _rows(table: Table) -> tuple[dict[str, int], list[str]]:
    """Return the row of each vlog, and findings about their ids."""
    table.require((_KEY,))
    return {vlog: row for row, vlog in enumerate(table.columns[_KEY])}, _id_findings(table)


def _id_findings(table: Table) -> list[str]:
    first: dict[str, str] = {}
    findings = []
    for vlog, place in zip(table.columns[_KEY], table.places, strict=True):
        if not vlog.isalnum():  # It becomes a file name.
            findings.append(f"{place}: {vlog!r} is not a vlog id such as 'VLOG1'")
        elif vlog in first:
            findings.append(f"{place}: {vlog} is a duplicate of {first[vlog]}")
        first.setdefault(vlog, place)
    return findings
