"""The process that scores clips for a crew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmperson.workers.worker import Act, serve


def main() -> None:
    """Score clips until standard input ends."""
    serve(_open)


def _open(settings: dict[str, Any]) -> Act:
    """Open a bundle; a task is a clip and its transcript, see ``Job``."""
    # Here, because what libraries print while they are loaded is no answer.
    from mmperson.runtime.bundle import open_bundle
    from mmperson.runtime.predictor import Predictor

    predictor = Predictor(
        open_bundle(Path(settings["bundle"])),
        provider=settings["provider"],
        decode=settings["decode"],
        decode_threads="none",
    )

    def score(task: list[str | None]) -> dict[str, Any]:
        clip, transcript = task
        assert clip is not None
        words = None if transcript is None else Path(transcript)
        return predictor.predict(clip, words).to_dict()

    return score
