"""What is measured: a bundle, with its quality beside its speed, and clips."""

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
    """What a bundle reads of a clip, and how good it is.

    Attributes:
        model: Its name and version.
        reads: Modalities that it reads.
        frames: Frames that it reads of a clip.
        sound_s: Seconds of sound that it reads at most.
        precision: ``fp32`` or ``int8`` of each graph.
        quality: Its measured metrics by the rows that they were measured on, such as ``validation,
            official``: ``n`` rows, and means over traits; accuracy is 1-MAE. None is what could not
            be judged. Empty where it states none.
    """

    model: str
    reads: tuple[str, ...]
    frames: int
    sound_s: float
    precision: dict[str, str]
    quality: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ClipFacts:
    """A clip, and what of it is used.

    Attributes:
        clip: Its path, as the caller named it.
        duration_s: Its length in seconds, where known.
        width: Pixels of its pictures, None without video.
        height: Pixels of its pictures, None without video.
        used: Modalities that go into its scores.
    """

    clip: str
    duration_s: float | None
    width: int | None
    height: int | None
    used: tuple[str, ...]


def bundle_facts(bundle: Bundle) -> BundleFacts:
    """Describe a bundle."""
    info = bundle.info
    reading = info.spec.read_options()
    return BundleFacts(
        model=bundle.model,
        reads=info.modalities,
        frames=reading["frames"],
        sound_s=0.0 if reading["audio"] is None else reading["audio"].duration_s,
        precision=info.precision,
        quality={rows: {"n": found.n, **found.mean} for rows, found in info.metrics.items()},
    )


def clip_facts(predictor: Predictor, clips: Sequence[str]) -> list[ClipFacts]:
    """Score each clip once, and describe it.

    Raises:
        UsageError: There is no clip, or one that cannot be scored.
    """
    if not clips:
        raise UsageError("There is no clip to measure with.", hint="Give one or more.")
    facts = []
    for clip in clips:
        record = predictor.predict(clip)
        if record.error is not None:
            raise UsageError(
                f"{clip!r} cannot be scored: {record.error.message}",
                hint="Leave it out: only clips that can be scored are measured.",
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
    """Return a record that has scores.

    Raises:
        MMPersonError: It has none, though the clip could be scored before.
    """
    if record.error is not None:
        raise MMPersonError(
            f"{record.clip!r} could be scored once, and then no more: {record.error.message}",
            hint=record.error.hint,
        )
    return record
