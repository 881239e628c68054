"""Build the record of a clip while it is being scored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmperson.errors import MMPersonError, UsageError
from mmperson.preprocessing.clip import ClipInputs
from mmperson.schema import (
    MODALITIES,
    Engine,
    ErrorInfo,
    Modalities,
    ModalityUse,
    Prediction,
    Scores,
    error_info,
)
from mmperson.traits import TRAITS, by_trait, neuroticism

if TYPE_CHECKING:
    from mmperson.inference.bundle import Bundle
    from mmperson.media import Span


@dataclass
class PredictionBuilder:
    """Collects the values of the record of a clip or a window.

    Attributes:
        name: The clip as the caller named it.
        fingerprint: Hash of its sources, see ``fingerprint``.
        duration_s: Length of the clip in seconds, None before it is decoded.
        span: Part of the clip that is scored, None for all of it.
        inputs: Prepared inputs of the network.
        scores: float64 (target,), None if the clip could not be scored.
        warnings: Warnings about the scores.
        timing_ms: Wall time per stage in milliseconds.
        error: Why there are no scores.
    """

    name: str
    fingerprint: str | None = None
    duration_s: float | None = None
    span: Span | None = None
    inputs: ClipInputs = field(default_factory=ClipInputs)
    scores: npt.NDArray[np.float64] | None = None
    warnings: list[str] = field(default_factory=list)
    timing_ms: dict[str, float] = field(default_factory=dict)
    error: ErrorInfo | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timing_ms[name] = 1e3 * (time.perf_counter() - start)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Time the block, and record an exception about this clip as its error."""
        with self.stage("total"):
            try:
                yield
            except UnicodeEncodeError:
                self.error = error_info(UsageError(f"The name {self.name!r} is not a valid path."))
            except MMPersonError as problem:
                self.error = error_info(problem)

    def record(self, bundle: Bundle, engine: Engine) -> Prediction:
        """Return the record.

        Args:
            bundle: The bundle.
            engine: The provider and precision of the graphs.
        """
        reads, count = bundle.info.modalities, len(TRAITS)
        scores, others = None, {}
        if self.scores is not None:
            scores = Scores(**by_trait(self.scores[:count].clip(0.0, 1.0)))
            targets = bundle.info.targets[count:]
            others = dict(zip(targets, self.scores[count:].tolist(), strict=True))
            if unread := [name for name in MODALITIES if name not in reads]:
                self.warnings.append(f"This bundle does not read {' or '.join(unread)}.")
        return Prediction(
            clip=self.name,
            start_s=None if self.span is None else self.span.start_s,
            end_s=None if self.span is None else self.span.end_s,
            scores=scores,
            neuroticism=None if scores is None else neuroticism(scores.emotional_stability),
            other_scores=others,
            modalities=Modalities(**{name: self._use(name, reads) for name in MODALITIES}),
            duration_s=self.duration_s,
            fingerprint=self.fingerprint,
            model=bundle.model,
            engine=engine,
            timing_ms={stage: round(value, 2) for stage, value in self.timing_ms.items()},
            warnings=tuple(dict.fromkeys(self.warnings)),
            error=self.error,
        )

    def _use(self, name: str, reads: Sequence[str]) -> ModalityUse:
        if name not in reads:
            return ModalityUse(use="unread", why=f"The bundle does not read {name}.")
        if self.scores is None:
            why = self.inputs.absent.get(name, "The clip could not be scored.")
            return ModalityUse(use="absent", why=why)
        if getattr(self.inputs, name) is None:
            return ModalityUse(use="absent", why=self.inputs.absent.get(name))
        return ModalityUse(use="used")
