"""RecruitView: 2,011 answers of 331 people to interview questions, judged in pairs.

Folder layout, ``*`` is optional::

    metadata.jsonl                      one answer per line, 21 keys
    gender_by_response.csv *            response_id, user_no, question_id, gender as a code
    **/vid_<id>.mp4 *                   the answers, in any folder

The published scores come from pairwise judgements. They are centred per question and distributed
like z-scores with heavy tails. There is no official split: every row is ``train``, and folds share
no person. The parser drops ``gemini_summary``, a language model's text about the clip.

Source: Gupta et al., "RecruitView: A Multimodal Dataset for Predicting Personality and Interview
Performance for Human Resources Applications" (arXiv 2512.00450, 2025).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.datasets.folds import assign_folds
from mmperson.datasets.manifest import Manifest
from mmperson.datasets.sources.files import find_clips
from mmperson.datasets.tables import (
    MAX_ROWS,
    Table,
    duplicates,
    raise_findings,
    read_bytes,
    read_csv,
)
from mmperson.errors import DataError, TranscriptError
from mmperson.media.transcripts.transcript import parse_transcript
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS

TRAIT_KEYS: Final = {
    "openness": 1.0,
    "conscientiousness": 1.0,
    "extraversion": 1.0,
    "agreeableness": 1.0,
    "neuroticism": -1.0,
}
"""Keys in the order of ``TRAITS``, with their sign."""

SCORE_KEYS: Final = (
    "overall_personality",
    "interview_score",
    "answer_score",
    "speaking_skills",
    "confidence_score",
    "facial_expression",
    "overall_performance",
)
"""The other seven targets, on the published scale."""

_Z_RANGE: Final = 8.0  # [-4, 4] standard deviations map to [0, 1].

_LARGEST: Final = 1000.0  # A larger score is malformed.

_NAME_KEYS: Final = ("id", "file_name", "user_no", "question_id", "duration", "video_quality")
_KEYS: Final = frozenset([*_NAME_KEYS, "transcript", *TRAIT_KEYS, *SCORE_KEYS])
_GROUP_KEYS: Final = ("question_id", "duration", "video_quality")
_LEFTOVER_TIME: Final = re.compile(r"\[\s*\d{1,3}:\d{2}\b")


def import_recruitview(folder: str | Path) -> Manifest:
    """Read the corpus; rows keep the published order.

    A trait score z becomes 0.5 + z / 8; neuroticism becomes emotional stability, 0.5 - z / 8. The
    result is clipped to [0, 1], and the provenance counts the clipped scores. The other seven
    scores are raw.

    Args:
        folder: See the module docstring.

    Returns:
        Every answer, also without a video. ``source_id`` is the person. ``extras`` has the seven
        scores (float64, NaN where unknown), ``question_id``, ``duration`` (short, medium or long)
        and ``video_quality`` (str) and, if the file exists, ``gender`` (int64, the published code,
        -1 where unknown).

    Raises:
        DataError: A file is missing, malformed or inconsistent with another.
    """
    folder = Path(folder)
    path = folder / "metadata.jsonl"
    if not path.is_file():
        raise DataError(
            f"{str(folder)!r} is not RecruitView.", findings=["expected metadata.jsonl"]
        )
    content = read_bytes(path)
    rows = _read_rows(content, path)
    names = [_stem(row) for row in rows]
    provenance = {
        "corpus": "RecruitView",
        "terms": "CC BY-NC 4.0; academic research only, not for decisions about people",
        "sha256 metadata.jsonl": hashlib.sha256(content).hexdigest(),
    }
    z = np.array([[row[key] for key in TRAIT_KEYS] for row in rows]) * [*TRAIT_KEYS.values()]
    targets = 0.5 + z / _Z_RANGE
    outside = int(((targets < 0) | (targets > 1)).sum())
    provenance["cut off"] = f"{outside:,} trait scores beyond ±{_Z_RANGE / 2:g} of {z.size:,}"
    people = np.array([row["user_no"] for row in rows], dtype=np.str_)
    extras: dict[str, npt.NDArray[Any]] = {
        key: np.array([row[key] for row in rows], dtype=np.float64) for key in SCORE_KEYS
    }
    extras |= {key: np.array([row[key] for row in rows], dtype=np.str_) for key in _GROUP_KEYS}
    genders = folder / "gender_by_response.csv"
    if genders.is_file():
        table = read_csv(genders)
        extras["gender"] = _genders(table, rows)
        provenance[f"sha256 {genders.name}"] = table.sha256
    clips = find_clips(folder, names)
    return Manifest(
        sample_id=np.array(names, dtype=np.str_),
        source_id=people,
        split=np.full(len(rows), "train"),
        fold=assign_folds(people),
        clip=tuple(clips.get(name) for name in names),
        transcript=tuple(row["transcript"] for row in rows),
        targets=np.clip(targets, 0.0, 1.0),
        descriptors=np.full((len(rows), len(DESCRIPTORS)), np.nan, dtype=np.float32),
        extras=extras,
        provenance=provenance,
    )


def _read_rows(content: bytes, path: Path) -> list[dict[str, Any]]:
    """Return the values of ``_KEYS`` of every line, names as text and scores as floats."""
    rows: list[dict[str, Any]] = []
    findings: list[str] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_known_keys)
        except (ValueError, RecursionError) as error:
            findings.append(f"line {number} is not JSON: {error}")
            continue
        problems = _convert(row)
        findings += [f"line {number}: {problem}" for problem in problems]
        if not problems:
            row["transcript"] = _transcript_text(row["transcript"], number, findings)
            rows.append(row)
        if len(rows) > MAX_ROWS:
            raise DataError(f"{str(path)!r} has more than {MAX_ROWS:,} rows.")
    findings += [f"{name!r} occurs twice" for name in duplicates(map(_stem, rows))]
    if not rows and not findings:
        findings.append("there are no rows")
    raise_findings(findings, f"{str(path)!r} is not valid RecruitView metadata.")
    return rows


def _stem(row: Mapping[str, Any]) -> str:
    return PurePosixPath(row["file_name"]).stem


def _known_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key in _KEYS}


def _convert(row: Any) -> list[str]:
    """Convert names to text and scores to floats in place; return the problems."""
    if not isinstance(row, dict):
        return ["not a JSON object"]
    findings = [f"{key!r} is missing" for key in sorted(_KEYS - row.keys())]
    for key in (*_NAME_KEYS, "transcript"):
        value = row.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            row[key] = str(value)
        elif key in row:
            findings.append(f"{key!r} is {value!r}, not text")
    for key in (*TRAIT_KEYS, *SCORE_KEYS):
        value = row.get(key)
        row[key] = float("nan")
        if isinstance(value, int | float) and abs(value) < _LARGEST:
            row[key] = float(value)
        elif value is not None:
            findings.append(f"{key!r} is {value!r}, not a valid score")
    return findings


def _transcript_text(transcript: str, number: int, findings: list[str]) -> str:
    """Check the timestamps of a transcript and remove them."""
    source = f"line {number}, transcript"
    try:
        parsed = parse_transcript(transcript, ".txt", source)
    except TranscriptError as error:
        findings.append(str(error))
        return ""
    starts = [segment.start_s for segment in parsed.segments]
    if starts != sorted(starts):
        findings.append(f"{source}: timestamps are not ascending")
    if leftover := _LEFTOVER_TIME.search(parsed.text):
        findings.append(f"{source}: malformed timestamp {leftover.group()!r}…")
    return parsed.text


def _genders(table: Table, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.int64]:
    """Return the published code of each row, int64 (row,), -1 where unknown."""
    table.require(("response_id", "user_no", "gender"))
    findings: list[str] = []
    codes = table.numbers("gender", findings, 0, 99)
    responses = table.numbers("response_id", findings, 0)
    people = {row["id"].lstrip("0"): row["user_no"] for row in rows}
    code_of: dict[str, int] = {}
    for place, response, user, code in zip(
        table.places, responses, table.columns["user_no"], codes, strict=True
    ):
        if np.isfinite(response) and np.isfinite(code):
            answer = f"{response:.0f}"
            if people.get(answer, user) != user:
                findings.append(
                    f"{place}: response {answer} has person {user}, not {people[answer]}"
                )
            code_of[answer] = int(code)
    raise_findings(findings, f"{str(table.path)!r} is malformed or contradicts metadata.jsonl.")
    return np.array([code_of.get(row["id"].lstrip("0"), -1) for row in rows], dtype=np.int64)
