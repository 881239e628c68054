"""Score clips in a worker process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmperson.inference.bundle import open_bundle
from mmperson.inference.predictor import Predictor
from mmperson.pool.worker import TaskFunction


def initialize(settings: dict[str, Any]) -> TaskFunction:
    """Open a bundle and return the function that scores a ``Job``."""
    predictor = Predictor(
        open_bundle(Path(settings["bundle"])),
        provider=settings["provider"],
        decode=settings["decode"],
        decode_threads="none",
    )
    predictor.spec.preload()

    def score(task: tuple[str, str | None]) -> dict[str, Any]:
        clip, transcript = task
        return predictor.predict(clip, None if transcript is None else Path(transcript)).to_dict()

    return score
