"""Apparent-personality recognition: predict how observers would rate a person in a video.

>>> import mmperson
>>> predictor = mmperson.load("impressions-text-audio")  # doctest: +SKIP
>>> predictor.predict("clip.mp4").scores.openness        # doctest: +SKIP
0.58

Scores are first impressions by observers: not a diagnosis, and not for decisions about people.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime 1.32 sends telemetry with a machine id unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from mmperson.api import evaluate, export, train
    from mmperson.errors import MMPersonError
    from mmperson.inference.batch import predict_many
    from mmperson.inference.predictor import Predictor, load
    from mmperson.schema import Prediction
    from mmperson.traits import TRAITS

__version__ = "0.1.0"
__all__ = [
    "TRAITS",
    "MMPersonError",
    "Prediction",
    "Predictor",
    "__version__",
    "evaluate",
    "export",
    "load",
    "predict_many",
    "train",
]

_HOMES = {
    "TRAITS": "mmperson.traits",
    "MMPersonError": "mmperson.errors",
    "Prediction": "mmperson.schema",
    "Predictor": "mmperson.inference.predictor",
    "evaluate": "mmperson.api",
    "export": "mmperson.api",
    "load": "mmperson.inference.predictor",
    "predict_many": "mmperson.inference.batch",
    "train": "mmperson.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, to keep ``import mmperson`` fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
