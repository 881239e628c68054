"""Find the shipped weights."""

from __future__ import annotations

import importlib.resources
from pathlib import Path


def weight_folders() -> list[Path]:
    """Return the folders of shipped weights: inside the package, then in a source tree."""
    package = Path(str(importlib.resources.files("mmperson")))
    return [root / "weights" for root in (package, package.parent)]
