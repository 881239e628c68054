"""The fp32 graphs of the tiny run, exported once: that is most of the time of an export."""

from pathlib import Path

import onnx
import pytest

from mmperson.exporting.graph import export_graph
from mmperson.exporting.wrapper import parts
from mmperson.models.checkpoint import Trained, load_network


@pytest.fixture(scope="session")
def trained(tiny_run: Path) -> Trained:
    """The network of the tiny run. Copy it before you change it."""
    return load_network(tiny_run)


@pytest.fixture(scope="session")
def graphs(trained: Trained) -> dict[str, onnx.ModelProto]:
    facts = {"mmperson.spec_hash": trained.spec.hash}
    wanted = parts(trained.network, trained.spec)
    return {name: export_graph(part, facts) for name, part in wanted.items()}
