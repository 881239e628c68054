"""Export a run folder to a bundle folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import mmperson
from mmperson.commit import source_commit
from mmperson.datasets.dataset import ClipDataset
from mmperson.datasets.decoding import decoded
from mmperson.datasets.manifest import Manifest
from mmperson.errors import BundleCorrupt, ExportError
from mmperson.exporting.card import licence, licence_text, model_card
from mmperson.exporting.graph import HALF_OPSET, OPSET, export_graph
from mmperson.exporting.parity import check_parity, score_difference
from mmperson.exporting.quantize import Precision, convert
from mmperson.exporting.wrapper import parts
from mmperson.files import write_folder
from mmperson.inference.bundle import (
    INFO_FILE,
    SCHEMA_VERSION,
    TOKENIZER_FILE,
    Bundle,
    BundleInfo,
    FileInfo,
    Quality,
)
from mmperson.inference.predictor import Predictor
from mmperson.inference.session import Session
from mmperson.models.checkpoint import Trained, load_network
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.traits import TRAITS

Measure = Callable[[Predictor], dict[str, Any]]

PARITY_ROWS = 32
"""Number of rows for the parity checks, each with every subset of modalities."""
MAX_DIFFERENCE = 0.05
"""A graph whose conversion changes a score by more stays in fp32."""


def export_run(
    run: str | Path,
    out: str | Path,
    manifest: Manifest,
    *,
    precision: Precision = "int8",
    calibration: Manifest | None = None,
    measure: Measure | None = None,
) -> BundleInfo:
    """Export a run's network to a bundle folder.

    The fp32 graphs must match the network. They are then converted; the bundle records the largest
    difference of a score. A graph whose conversion changes a score by more than ``MAX_DIFFERENCE``,
    or that cannot be run, stays in fp32.

    Args:
        run: Run folder of ``train``.
        out: Bundle folder. An existing bundle without other files is replaced; anything else is
            refused.
        manifest: Rows for the parity checks.
        precision: Precision of the graphs, see ``quantize.Precision``.
        calibration: Rows that calibrate ``int8-static``; None for those of the parity checks.
        measure: Measures the bundle's quality for ``bundle.json`` and the model card; an error
            that it raises stops the export.

    Returns:
        The content of ``bundle.json``.

    Raises:
        ParityExceeded: The graphs do not match the network.
        ExportError: The network cannot be exported, or ``out`` is not a replaceable bundle.
    """
    run, out = Path(run), Path(out)
    _check_replaceable(out)
    trained = load_network(run)
    facts = {
        "mmperson.name": trained.recipe.name,
        "mmperson.version": mmperson.__version__,
        "mmperson.spec_hash": trained.spec.hash,
        "mmperson.traits": ",".join(TRAITS),
    }
    opset = HALF_OPSET if precision == "fp16" else OPSET
    graphs = {
        name: export_graph(part, facts, opset)
        for name, part in parts(trained.network, trained.spec).items()
    }
    rows = _spread_rows(trained, manifest, run)
    parity = {"fp32": check_parity(trained.network, _sessions(graphs, trained), rows)}
    calibration_rows = rows
    if precision == "int8-static" and calibration is not None:
        calibration_rows = _spread_rows(trained, calibration, run)
    precisions = dict.fromkeys(graphs, "fp32")
    converted = {}
    for name, kind, graph in convert(graphs, precision, calibration_rows):
        if _is_faithful(graphs | {name: graph}, trained, rows):
            converted[name], precisions[name] = graph, kind
    graphs |= converted
    if converted:
        sessions = _sessions(graphs, trained)
        parity[precision] = score_difference(trained.network, sessions, rows, together=1)

    files = {f"{name}.onnx": graph.SerializeToString() for name, graph in graphs.items()}
    if trained.spec.text is not None:
        files[TOKENIZER_FILE] = (run / TOKENIZER_FILE).read_bytes()
    info = BundleInfo(
        schema_version=SCHEMA_VERSION,
        name=trained.recipe.name,
        version=mmperson.__version__,
        modalities=trained.spec.modalities,
        traits=TRAITS,
        targets=trained.recipe.data.targets,
        spec=trained.spec,
        spec_hash=trained.spec.hash,
        opset=opset,
        precision=precisions,
        recipe=trained.recipe.model_dump(mode="json"),
        recipe_hash=trained.recipe.hash,
        commit=source_commit() or "unknown",
        metrics={},
        parity=parity,
        licence=licence(manifest.provenance),
        files={},
    )
    metrics = measure(Predictor(Bundle(run, info, files))) if measure is not None else {}
    card = model_card(
        trained.recipe, trained.spec, precisions, parity, metrics, manifest.provenance
    )
    terms = licence_text(trained.recipe, manifest.provenance)
    files |= {"MODEL_CARD.md": card.encode(), "LICENSE.txt": terms.encode()}
    quality = {protocol: Quality.model_validate(facts) for protocol, facts in metrics.items()}
    hashes = {
        name: FileInfo(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        for name, content in files.items()
    }
    info = info.model_copy(update={"metrics": quality, "files": hashes})
    files[INFO_FILE] = (json.dumps(info.model_dump(mode="json"), indent=2) + "\n").encode()
    # Checked again: an export takes minutes, in which the folder may have changed.
    write_folder(out, files, _check_replaceable)
    return info


def _spread_rows(trained: Trained, manifest: Manifest, run: Path) -> ClipDataset:
    """Prepare evenly spaced rows of a manifest."""
    chosen = np.unique(np.linspace(0, len(manifest) - 1, PARITY_ROWS).round().astype(np.int64))
    tokenizer = None if trained.spec.text is None else load_tokenizer(run / TOKENIZER_FILE)
    sample = manifest.select(chosen)
    with decoded(sample, trained.spec) as cache:
        rows = ClipDataset.prepare(sample, trained.spec, tokenizer, cache)
        return replace(rows, inputs=list(rows.inputs))  # In memory: the cache is temporary.


def _is_faithful(graphs: dict[str, onnx.ModelProto], trained: Trained, rows: ClipDataset) -> bool:
    """Return whether graphs can be run and differ by at most ``MAX_DIFFERENCE``."""
    try:
        sessions = _sessions(graphs, trained)
        return score_difference(trained.network, sessions, rows, together=1) <= MAX_DIFFERENCE
    except BundleCorrupt:
        return False


def _sessions(graphs: dict[str, onnx.ModelProto], trained: Trained) -> dict[str, Session]:
    return {
        name: Session(graph.SerializeToString(), name, trained.spec.hash, threads=1)
        for name, graph in graphs.items()
    }


def _check_replaceable(out: Path) -> None:
    """Raise if a folder is not a bundle without other files."""
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not (out / INFO_FILE).is_file():
        raise ExportError(f"{str(out)!r} exists and is not a bundle.", hint="Give another --out.")
    try:
        known = {INFO_FILE, *json.loads((out / INFO_FILE).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExportError(
            f"{str(out)!r} exists, and its {INFO_FILE} cannot be read: {error}.",
            hint="Give another --out.",
        ) from error
    entries = list(out.iterdir())
    unexpected = {path.name for path in entries} ^ known
    unexpected |= {path.name for path in entries if path.is_symlink() or not path.is_file()}
    if unexpected:
        raise ExportError(
            f"{str(out)!r} exists, and its files differ from those of its {INFO_FILE}: "
            f"{', '.join(sorted(unexpected))}.",
            hint="Give another --out.",
        )
