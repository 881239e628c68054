"""Score a long recording window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmperson.inference.builder import PredictionBuilder

if TYPE_CHECKING:
    from mmperson.inference.predictor import Predictor
    from mmperson.media.clip import Clip
    from mmperson.media.transcripts.resolve import ResolvedTranscript, TranscriptSource
    from mmperson.schema import Prediction


def predict_windows(
    predictor: Predictor,
    name: str,
    windows: Iterator[Clip],
    transcript: TranscriptSource,
    settings: tuple[float | None, ...],
) -> Iterator[Prediction]:
    """Score the windows of a recording, see ``Predictor.predict_windows``.

    Args:
        predictor: Scores the windows.
        name: Path of the recording.
        windows: Its windows, from ``read_windows``.
        transcript: Its transcript.
        settings: Length and step of the windows, for the fingerprint.

    Yields:
        A record per window. If the recording cannot be read any further, the last record has an
        error and no times.
    """
    resolved: ResolvedTranscript | None = None
    fingerprint = None
    while True:
        builder = PredictionBuilder(name, fingerprint)
        with builder.attempt():
            with builder.stage("decode"):
                if resolved is None:
                    resolved = predictor.resolve(builder, transcript, settings)
                    fingerprint = builder.fingerprint
                window = next(windows, None)
            if window is None:
                return
            assert window.span is not None
            part = resolved.within(window.span)
            builder.warnings += part.warnings
            predictor.prepare(builder, window, part)
            del window  # its frames take more memory than the prepared inputs
            predictor.run(builder)
        yield builder.record(predictor.bundle, predictor.engine)
        if builder.span is None:
            return
