"""The record of one scored clip, the same from Python, the command line and files.

A record always has the same keys. A clip that could not be scored has ``scores: null`` and an
``error``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmperson.errors import MMPersonError

SCHEMA_VERSION: Final = "1"

Use = Literal["used", "absent", "unread"]
MODALITIES: Final = ("video", "audio", "text")
"""Modality names in the order of every presence mask's last axis."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(_Record):
    """Apparent Big Five on [0, 1], as observers would rate the person in this clip."""

    openness: float
    conscientiousness: float
    extraversion: float
    agreeableness: float
    emotional_stability: float


class ModalityUse(_Record):
    """Whether a modality went into the scores.

    ``used``: it did. ``absent``: the bundle reads it, but the clip has none that is usable.
    ``unread``: the bundle does not read it.
    """

    use: Use
    why: str | None = None


class Modalities(_Record):
    """The use of each modality."""

    video: ModalityUse
    audio: ModalityUse
    text: ModalityUse


class Engine(_Record):
    """What computed the scores: a provider of ONNX Runtime, and each graph's precision by name."""

    provider: str
    precision: dict[str, str]


class ErrorInfo(_Record):
    """Why a clip has no scores."""

    type: str
    message: str
    hint: str | None = None


class Prediction(_Record):
    """The record of one clip.

    Attributes:
        schema_version: Version of this record's format.
        clip: The clip as the caller named it.
        start_s: Where the part of the clip that was scored begins, in seconds; None for all of it.
        end_s: Where that part ends, in seconds; None for all of it.
        scores: Five scores on [0, 1], or None if the clip could not be scored.
        neuroticism: 1 - emotional stability, on [0, 1].
        other_scores: Scores of what the bundle gives beyond the traits, by name, in the units of
            its training labels; empty for most bundles.
        modalities: Which modalities went into the scores, and why the others did not.
        duration_s: Length of the clip in seconds, where known.
        fingerprint: Hash of what the scores were made from: bundle, clip, transcript and
            provider.
        model: Name and version of the bundle.
        engine: What computed the scores; None in records that are older than this field.
        timing_ms: Wall time per stage in milliseconds.
        warnings: What the reader of the scores should know.
        error: Why there are no scores.
    """

    schema_version: str = SCHEMA_VERSION
    clip: str
    start_s: float | None = None
    end_s: float | None = None
    scores: Scores | None
    neuroticism: float | None
    other_scores: dict[str, float] = Field(default_factory=dict)
    modalities: Modalities
    duration_s: float | None
    fingerprint: str | None = None
    model: str
    engine: Engine | None = None
    timing_ms: dict[str, float] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: ErrorInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON-ready values."""
        return self.model_dump(mode="json")


def error_info(error: MMPersonError) -> ErrorInfo:
    """Return the record's ``error`` part for an exception."""
    return ErrorInfo(type=type(error).__name__, message=error.message, hint=error.hint)
