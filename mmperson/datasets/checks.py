"""Check a corpus for errors, leakage and missing data before training."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mmperson.datasets.manifest import SPLITS, Manifest
from mmperson.datasets.tables import duplicates
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS
from mmperson.traits import TRAITS

Level = Literal["error", "warning"]

EXAMPLES: Final = 5
"""Rows that a finding names."""

_MIN_ROWS_FOR_DIRECTION: Final = 100


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        level: ``"error"`` if the corpus must be fixed before use, else ``"warning"``.
        code: Stable name of the check.
        message: One line.
        count: Number of affected rows.
        examples: Names of the first ``EXAMPLES`` affected rows.
    """

    level: Level
    code: str
    message: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitFacts:
    """Counts of one split.

    Attributes:
        rows: Clips.
        sources: Source videos.
        clips: Rows that name a file.
        transcripts: Rows with text.
        descriptors: Rows with published acoustic descriptors.
        seen_source: Rows whose source video is in training; 0 for training itself.
        unseen_source: Rows whose source video is not; 0 for training itself.
    """

    rows: int
    sources: int
    clips: int
    transcripts: int
    descriptors: int
    seen_source: int
    unseen_source: int


@dataclass(frozen=True)
class Report:
    """Result of ``check_manifest``.

    Attributes:
        splits: Counts of each split that has rows, in the order of ``SPLITS``.
        folds: Number of rows by fold, -1 for rows in no fold.
        probed: Whether every clip was opened.
        findings: Errors first.
    """

    splits: dict[str, SplitFacts]
    folds: dict[int, int]
    probed: bool
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings of level ``error``."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings of level ``warning``."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"ok": not self.errors, **asdict(self)}


def check_manifest(
    manifest: Manifest, *, probe: bool, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Check a manifest for whatever would break training or inflate its results.

    Args:
        manifest: The corpus.
        probe: Open each clip with ``media.probe_clip`` in worker processes (milliseconds per clip);
            otherwise only check that the file exists.
        progress: Called with (clips done, total clips) after each opened clip.

    Raises:
        DataError: No worker can be started.
    """
    findings = [
        *_identity(manifest),
        *_labels(manifest),
        *_clips(manifest, probe, progress),
        *_transcripts(manifest),
        *_leakage(manifest),
        *_folds(manifest),
        *_descriptors(manifest),
    ]
    return Report(
        splits={name: _facts(manifest, name) for name in SPLITS if (manifest.split == name).any()},
        folds={int(fold): int((manifest.fold == fold).sum()) for fold in np.unique(manifest.fold)},
        probed=probe,
        findings=tuple(sorted(findings, key=lambda finding: finding.level)),
    )


def seen_sources(manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Return bool (row,), True where the source video has a clip in the training split."""
    training = manifest.source_id[manifest.split == "train"]
    return np.isin(manifest.source_id, training)


def _facts(manifest: Manifest, split: str) -> SplitFacts:
    rows = manifest.where_split(split)
    evaluated = split != "train"
    seen = int(seen_sources(manifest)[manifest.split == split].sum())
    return SplitFacts(
        rows=len(rows),
        sources=len(np.unique(rows.source_id)),
        clips=sum(clip is not None for clip in rows.clip),
        transcripts=sum(bool(text.strip()) for text in rows.transcript),
        descriptors=int(np.isfinite(rows.descriptors).all(axis=1).sum()),
        seen_source=seen if evaluated else 0,
        unseen_source=len(rows) - seen if evaluated else 0,
    )


def _identity(manifest: Manifest) -> Iterable[Finding]:
    if not len(manifest):
        yield Finding("error", "empty", "there are no rows", 0)
    repeated = duplicates(manifest.sample_id.tolist())
    yield from _some("error", "duplicate-sample", "duplicate sample ids", repeated)


def _labels(manifest: Manifest) -> Iterable[Finding]:
    absent = np.isnan(manifest.targets)
    outside = (manifest.targets < 0) | (manifest.targets > 1)
    traits = [trait for i, trait in enumerate(TRAITS) if outside[:, i].any()]
    message = f"rows with labels outside [0, 1] ({', '.join(traits)})"
    yield from _rows("error", "label-range", message, manifest, outside.any(axis=1))

    if absent.all():
        yield from _rows("error", "label-absent", "rows without labels", manifest, absent[:, 0])
        return
    never = np.asarray(absent.all(axis=0))
    if never.any():
        names = ", ".join(trait for trait, lacking in zip(TRAITS, never, strict=True) if lacking)
        message = f"no row has a label of {names}"
        yield Finding("warning", "trait-unlabelled", message, len(manifest))
    partly = absent & ~never
    counts = ", ".join(
        f"{trait} {count:,}"
        for trait, count in zip(TRAITS, partly.sum(axis=0), strict=True)
        if count
    )
    message = f"rows with a missing label ({counts})"
    yield from _rows("warning", "label-absent", message, manifest, partly.any(axis=1))
    yield from _direction(manifest.targets[~absent.any(axis=1)])


def _direction(targets: npt.NDArray[np.float64]) -> Iterable[Finding]:
    if len(targets) < _MIN_ROWS_FOR_DIRECTION:
        return
    stability, others = targets[:, 4], targets[:, :4].mean(axis=1)
    if float(np.cov(stability, others)[0, 1]) < 0:
        message = "emotional stability correlates negatively with the others: is it neuroticism?"
        yield Finding("warning", "trait-direction", message, len(targets))


def _clips(
    manifest: Manifest, probe: bool, progress: Callable[[int, int], None] | None
) -> Iterable[Finding]:
    named = [(str(n), c) for n, c in zip(manifest.sample_id, manifest.clip, strict=True) if c]
    # Path.is_file fails on a name that is too long.
    existing = [(name, clip) for name, clip in named if os.path.isfile(clip)]
    missing = [name for name, clip in named if not os.path.isfile(clip)]
    unreadable: list[str] = []
    if probe:
        from mmperson.datasets.open_check import check_clips_open

        done = itertools.count(len(missing) + 1)
        report = progress or (lambda *_: None)
        clips = [clip for _, clip in existing]
        errors = check_clips_open(clips, lambda: report(next(done), len(named)))
        pairs = zip(existing, errors, strict=True)
        unreadable = [f"{name} ({error})" for (name, _), error in pairs if error]
    yield from _some("error", "clip-missing", "missing clip files", missing)
    yield from _some("error", "clip-unreadable", "unreadable clips", unreadable)


def _transcripts(manifest: Manifest) -> Iterable[Finding]:
    texts = np.array([text.strip() for text in manifest.transcript], dtype=object)
    blank = np.array([not text for text in texts], dtype=bool)
    yield from _rows("warning", "transcript-blank", "blank transcripts", manifest, blank)
    counts = Counter(texts[~blank].tolist())
    repeated = np.array([counts[text] > 1 for text in texts], dtype=bool)
    message = "clips with identical transcripts"
    yield from _rows("warning", "transcript-duplicate", message, manifest, repeated)


def _leakage(manifest: Manifest) -> Iterable[Finding]:
    seen = seen_sources(manifest)
    for split in SPLITS[1:]:
        rows = manifest.split == split
        leaked = rows & seen
        share = leaked.sum() / max(1, rows.sum())
        message = f"{split} clips from a source video that is in training"
        detail = f" ({share:.0%}), {rows.sum() - leaked.sum():,} without"
        yield from _rows("warning", f"leakage-{split}", message, manifest, leaked, detail)


def _folds(manifest: Manifest) -> Iterable[Finding]:
    # A source in two folds would leak from training to evaluation.
    pairs = np.unique(np.stack([manifest.source_id, manifest.fold.astype(np.str_)], axis=1), axis=0)
    sources, folds = np.unique(pairs[:, 0], return_counts=True)
    split_up = sources[folds > 1].tolist()
    yield from _some("error", "fold-overlap", "source videos in more than one fold", split_up)
    outside = manifest.fold < 0
    if not outside.all():
        videos = len(np.unique(manifest.source_id[outside]))
        detail = f", of {videos:,} source videos"
        yield from _rows("warning", "fold-coverage", "clips in no fold", manifest, outside, detail)


def _descriptors(manifest: Manifest) -> Iterable[Finding]:
    counts = np.isfinite(manifest.descriptors).sum(axis=1)
    partial = (counts > 0) & (counts < len(DESCRIPTORS))
    message = f"rows with only some of the {len(DESCRIPTORS)} descriptors"
    yield from _rows("warning", "descriptors-partial", message, manifest, partial)


def _rows(
    level: Level,
    code: str,
    what: str,
    manifest: Manifest,
    rows: npt.ArrayLike,
    detail: str = "",
) -> Iterable[Finding]:
    names = manifest.sample_id[np.flatnonzero(rows)].tolist()
    return _some(level, code, what, names, detail)


def _some(
    level: Level, code: str, what: str, names: list[str], detail: str = ""
) -> Iterable[Finding]:
    if names:
        message = f"{what}: {len(names):,}{detail}"
        yield Finding(level, code, message, len(names), tuple(names[:EXAMPLES]))
