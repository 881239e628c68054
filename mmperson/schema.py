"""The record of one scored clip, the same in Python, on the command line and in files.

A record always has the same keys. A clip that could not be scored has ``scores: null`` and an
``error``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmperson.errors import MMPersonError

SCHEMA_VERSION: Final = "1"

MODALITIES: Final = ("video", "audio", "text")
"""Modality names in the order of every presence mask's last axis."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(_Record):
    """Apparent Big Five on [0, 1], as observers would rate the person in the clip."""

    openness: float
    conscientiousness: float
    extraversion: float
    agreeableness: float
    emotional_stability: float


class ModalityUse(_Record):
    """Whether the scores use a modality.

    ``used``: they do. ``absent``: the bundle reads it, but it is missing or unusable in the clip.
    ``unread``: the bundle does not read it.
    """

    use: Literal["used", "absent", "unread"]
    why: str | None = None


class Modalities(_Record):
    """The use of each modality."""

    video: ModalityUse
    audio: ModalityUse
    text: ModalityUse


class Engine(_Record):
    """The provider of ONNX Runtime, and the precision of each graph by name."""

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
        start_s: Start of the scored part in seconds; None for the whole clip.
        end_s: End of the scored part in seconds; None for the whole clip.
        scores: Five scores on [0, 1], None if the clip could not be scored.
        neuroticism: 1 - emotional stability, on [0, 1].
        other_scores: Scores of the bundle's other targets by name, in the units of its training
            labels; empty for most bundles.
        modalities: Which modalities the scores use, and why not the others.
        duration_s: Length of the clip in seconds, None if unknown.
        fingerprint: Hash of bundle, clip, transcript and settings.
        model: Name and version of the bundle.
        engine: Provider and precision; None in records older than this field.
        timing_ms: Wall time per stage in milliseconds.
        warnings: Warnings about the scores.
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
        """Return the record as JSON values."""
        return self.model_dump(mode="json")


def error_info(error: MMPersonError) -> ErrorInfo:
    """Return the ``error`` of a record for an exception."""
    return ErrorInfo(type=type(error).__name__, message=error.message, hint=error.hint)
