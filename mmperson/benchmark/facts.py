"""Descriptions of the measured bundle, with its quality, and of the clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmperson.errors import MMPersonError, UsageError
from mmperson.inference.bundle import Bundle
from mmperson.inference.predictor import Predictor
from mmperson.media import probe_clip
from mmperson.schema import MODALITIES, Prediction


@dataclass(frozen=True)
class BundleFacts:
    """Inputs and quality of a bundle.

    Attributes:
        model: Name and version.
        reads: Modalities.
        frames: Frames per clip.
        sound_s: Longest audio input in seconds.
        precision: ``fp32`` or ``int8`` by graph.
        quality: Metrics by evaluated rows, such as ``validation, official``: ``n`` rows, and means
            over traits (accuracy is 1-MAE), None where undefined. Empty if the bundle has none.
    """

    model: str
    reads: tuple[str, ...]
    frames: int
    sound_s: float
    precision: dict[str, str]
    quality: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ClipFacts:
    """A clip and its used modalities.

    Attributes:
        clip: Path, as given by the caller.
        duration_s: Duration in seconds, None where unknown.
        width: Width in pixels, None without video.
        height: Height in pixels, None without video.
        used: Modalities that contribute to its scores.
    """

    clip: str
    duration_s: float | None
    width: int | None
    height: int | None
    used: tuple[str, ...]


def bundle_facts(bundle: Bundle) -> BundleFacts:
    """Describe a bundle."""
    info = bundle.info
    options = info.spec.read_options()
    return BundleFacts(
        model=bundle.model,
        reads=info.modalities,
        frames=options["frames"],
        sound_s=0.0 if options["audio"] is None else options["audio"].duration_s,
        precision=info.precision,
        quality={rows: {"n": result.n, **result.mean} for rows, result in info.metrics.items()},
    )


def clip_facts(predictor: Predictor, clips: Sequence[str]) -> list[ClipFacts]:
    """Score each clip once, and describe it.

    Raises:
        UsageError: There is no clip, or a clip cannot be scored.
    """
    if not clips:
        raise UsageError("There is no clip.", hint="Give one or more.")
    facts = []
    for clip in clips:
        record = predictor.predict(clip)
        if record.error is not None:
            raise UsageError(
                f"{clip!r} cannot be scored: {record.error.message}",
                hint="Omit it: a benchmark needs clips that can be scored.",
            )
        video = probe_clip(clip).video
        uses = record.modalities.model_dump()
        facts.append(
            ClipFacts(
                clip=clip,
                duration_s=record.duration_s,
                width=None if video is None else video.width,
                height=None if video is None else video.height,
                used=tuple(name for name in MODALITIES if uses[name]["use"] == "used"),
            )
        )
    return facts


def check_scored(record: Prediction) -> Prediction:
    """Return the record.

    Raises:
        MMPersonError: It has no scores, although the clip was scored before.
    """
    if record.error is not None:
        raise MMPersonError(
            f"{record.clip!r} was scored before, but now failed: {record.error.message}",
            hint=record.error.hint,
        )
    return record
