"""Score a long recording window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmperson.inference.builder import PredictionBuilder
from mmperson.media.windows import read_windows

if TYPE_CHECKING:
    from mmperson.inference.predictor import Predictor
    from mmperson.media.clip import Clip
    from mmperson.media.transcripts.resolve import ResolvedTranscript, TranscriptSource
    from mmperson.schema import Prediction


def predict_windows(
    predictor: Predictor,
    clip: str,
    transcript: TranscriptSource,
    window_s: float,
    step_s: float | None,
) -> Iterator[Prediction]:
    """Score a recording window by window, see ``Predictor.predict_windows``."""
    clips = read_windows(clip, window_s, step_s, **predictor.read_options())
    return _predict_windows(predictor, clip, clips, transcript, (window_s, step_s))


def _predict_windows(
    predictor: Predictor,
    name: str,
    clips: Iterator[Clip],
    transcript: TranscriptSource,
    settings: tuple[float | None, ...],
) -> Iterator[Prediction]:
    resolved: ResolvedTranscript | None = None
    fingerprint = None
    while True:
        builder = PredictionBuilder(name, fingerprint)
        with builder.attempt():
            with builder.stage("decode"):
                if resolved is None:
                    resolved = predictor.resolve(builder, transcript, settings)
                    fingerprint = builder.fingerprint
                window = next(clips, None)
            if window is None:
                return
            assert window.span is not None
            part = resolved.within(window.span)
            builder.warnings += part.warnings
            predictor.prepare(builder, window, part)
            del window  # frames take more memory than what is cut out of them
            predictor.run(builder)
        yield predictor.record(builder)
        if builder.span is None:  # the recording cannot be read on
            return
