"""The network of the tiny run and its fp32 graphs: to export is most of the time of a test."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from mmperson.models.checkpoint import Trained, load_network


@pytest.fixture(scope="session")
def trained(tiny_run: Path) -> Trained:
    """The network of the tiny run. Copy it before you change it."""
    return load_network(tiny_run)


@pytest.fixture(scope="session")
def graphs(tiny_export: tuple[Path, dict[str, Any]]) -> dict[str, onnx.ModelProto]:
    """The graphs as ``export_run`` had them before it converted any."""
    return tiny_export[1]
