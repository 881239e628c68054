"""ChaLearn First Impressions V2: 10,000 clips of about 15 s, cut from 3,060 YouTube videos.

Folder layout, ``*`` is optional::

    annotation/annotation_{training,validation,test}.pkl         scores by trait and clip
    transcription/transcription_{training,validation,test}.pkl   text by clip
    age_groups.csv *                    file_name, …, age_group 1..8
    source_disjoint_folds.txt *         one Python list of YouTube ids per line
    audio_features/audio_{training,validation,test}.csv *        26 librosa means
    **/*.mp4 *                          the clips, in any folder

Source: Ponce-López et al., "ChaLearn LAP 2016: First Round Challenge on First Impressions" (ECCV
workshops 2016); Escalante et al., "Modeling, Recognizing, and Explaining Apparent Personality from
Videos" (IEEE Transactions on Affective Computing, 2022).
"""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.manifest import Manifest
from mmperson.datasets.pickles import read_labels, read_texts
from mmperson.datasets.sources.files import find_clips
from mmperson.datasets.tables import raise_findings, read_bytes, read_csv
from mmperson.errors import DataError
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS

TRAIT_COLUMNS: Final = (
    "openness",
    "conscientiousness",
    "extraversion",
    "agreeableness",
    "neuroticism",  # Emotional stability: see import_first_impressions.
)
"""Columns in the order of ``TRAITS``."""

_FILES_OF: Final = {"train": "training", "validation": "validation", "test": "test"}
_RENAMED: Final = {"rms": "rmse", "spectral_rolloff": "rolloff"}
_FEATURE_COLUMNS: Final = tuple(_RENAMED.get(name, name) for name in DESCRIPTORS)
_YOUTUBE_ID_LENGTH: Final = 11
_MAX_FOLDS_BYTES: Final = 1024 * 1024


def import_first_impressions(folder: str | Path) -> Manifest:
    """Read the corpus; rows are ordered by split, then by name.

    The published column ``neuroticism`` becomes ``emotional_stability`` unchanged: the dataset card
    calls it the inverse of Neuroticism, and on the training split it correlates by +.72 to +.88
    with the other four traits and interview.

    Args:
        folder: See the module docstring.

    Returns:
        Every annotated clip. ``extras`` has ``interview`` (float64, invitation to a job interview,
        NaN where unknown) and, if the file exists, ``age_group`` (int64, 1 to 8, -1 where unknown).

    Raises:
        DataError: A file is missing, malformed or inconsistent with another.
    """
    folder = Path(folder)
    labels, texts, provenance = _read_pickles(folder)
    names = [(split, name) for split, columns in labels.items() for name in sorted(columns)]
    sample_id = [_sample_id(name) for _, name in names]
    source_id = [name[:_YOUTUBE_ID_LENGTH] for name in sample_id]
    scores = np.array([labels[split][name] for split, name in names]).reshape(len(names), 6)
    folds = _read_folds(folder / "source_disjoint_folds.txt")
    clips = find_clips(folder, sample_id)
    extras: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]] = {"interview": scores[:, 5]}
    ages = _read_ages(folder / "age_groups.csv")
    if ages:
        extras["age_group"] = np.array([ages.get(name, -1) for name in sample_id], dtype=np.int64)
    return Manifest(
        sample_id=np.array(sample_id, dtype=np.str_),
        source_id=np.array(source_id, dtype=np.str_),
        split=np.array([split for split, _ in names], dtype=np.str_),
        fold=np.array([folds.get(source, -1) for source in source_id], dtype=np.int64),
        clip=tuple(clips.get(name) for name in sample_id),
        transcript=tuple(texts.get(name, "") for name in sample_id),
        targets=np.ascontiguousarray(scores[:, :5]),
        descriptors=_read_descriptors(folder / "audio_features", sample_id),
        extras=extras,
        provenance=provenance,
    )


def _read_pickles(
    folder: Path,
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str], dict[str, str]]:
    """Return scores by split and file name, text by sample id, and the provenance."""
    paths = {
        (kind, split): folder / kind / f"{kind}_{word}.pkl"
        for kind in ("annotation", "transcription")
        for split, word in _FILES_OF.items()
    }
    missing = [str(path.relative_to(folder)) for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(
            f"{str(folder)!r} is not First Impressions V2: {len(missing)} of the {len(paths)} "
            "label and transcript files are missing.",
            findings=[f"expected {name}" for name in missing],
        )
    labels = {split: _read_scores(paths["annotation", split]) for split in _FILES_OF}
    texts = {
        _sample_id(name): text
        for split in _FILES_OF
        for name, text in read_texts(paths["transcription", split]).items()
    }
    provenance = {
        "corpus": "ChaLearn First Impressions V2",
        "terms": "CC BY-NC 4.0; research only, not for decisions about people",
    }
    for path in paths.values():
        provenance[f"sha256 {path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return labels, texts, provenance


def _read_scores(path: Path) -> dict[str, list[float]]:
    """Return the five traits and interview by file name; version 1 has no interview (NaN)."""
    columns = read_labels(path)
    missing = [name for name in TRAIT_COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{str(path)!r} lacks the columns {', '.join(missing)}; it has {', '.join(columns)}."
        )
    clips = columns["openness"].keys()
    columns.setdefault("interview", dict.fromkeys(clips, float("nan")))
    names = (*TRAIT_COLUMNS, "interview")
    uneven = [name for name in names if columns[name].keys() != clips]
    if uneven:
        raise DataError(f"{str(path)!r} has other clips in {', '.join(uneven)} than in openness.")
    return {clip: [columns[name][clip] for name in names] for clip in clips}


def _read_folds(path: Path) -> dict[str, int]:
    """Return the fold of each source video; empty without the file."""
    if not path.is_file():
        return {}
    folds: dict[str, int] = {}
    content = read_bytes(path, _MAX_FOLDS_BYTES).decode("utf-8", errors="replace")
    for number, line in enumerate(content.splitlines()):
        try:
            sources = ast.literal_eval(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise DataError(f"Line {number + 1} of {str(path)!r} is not a Python list.") from error
        if not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
            raise DataError(f"Line {number + 1} of {str(path)!r} is not a list of video ids.")
        repeated = folds.keys() & set(sources)
        if repeated:
            raise DataError(f"{str(path)!r} has {min(repeated)!r} in two folds.")
        folds |= dict.fromkeys(sources, number)
    return folds


def _read_ages(path: Path) -> dict[str, int]:
    """Return the age group by sample id; empty without the file."""
    groups = _rows(path, "file_name", ("age_group",))
    return {name: int(group) for name, (group,) in groups if math.isfinite(group)}


def _read_descriptors(folder: Path, sample_id: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the published features, float32 (row, descriptor), NaN where unknown."""
    features = {
        name: values
        for word in _FILES_OF.values()
        for name, values in _rows(folder / f"audio_{word}.csv", "filename", _FEATURE_COLUMNS)
    }
    unknown = [float("nan")] * len(DESCRIPTORS)
    rows = [features.get(name, unknown) for name in sample_id]
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(DESCRIPTORS))


def _rows(path: Path, key: str, columns: Sequence[str]) -> Iterator[tuple[str, list[float]]]:
    """Yield the sample id and numbers of each row of a CSV file; nothing without the file."""
    if not path.is_file():
        return
    table = read_csv(path)
    table.require((key, *columns))
    findings: list[str] = []
    numbers = np.stack([table.numbers(name, findings) for name in columns], axis=1)
    raise_findings(findings, f"{str(path)!r} is malformed.")
    for name, values in zip(table.columns[key], numbers.tolist(), strict=True):
        yield _sample_id(name), values


def _sample_id(name: str) -> str:
    return name.removesuffix(".mp4")
