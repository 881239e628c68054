"""A run folder to a bundle folder: export, gate, describe, write."""

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
"""Real rows that the gates are measured on, each with every subset of modalities."""
MAX_DIFFERENCE = 0.05
"""Largest difference of a score that converting a graph may make; else it stays in fp32."""


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

    The graphs are first held to the network in fp32. They are then converted, which makes scores
    differ a little; the largest difference is measured and written down. A graph whose conversion
    moves a score by more than ``MAX_DIFFERENCE``, or cannot be run, stays in fp32.

    Args:
        run: Folder made by ``train``.
        out: Folder to make. A bundle there, with its own files alone, is replaced; anything else
            is refused.
        manifest: Rows for the gates.
        precision: What the graphs are converted to, see ``quantize.Precision``.
        calibration: Rows from which ``int8-static`` learns how large activations are; those of the
            gates without it.
        measure: Measures the quality of what is about to be written, for ``bundle.json`` and the
            card; an error it raises stops the export.

    Returns:
        The facts of the bundle.

    Raises:
        ParityExceeded: The graphs say something else than the network.
        ExportError: The network cannot be exported, or the folder holds something else.
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
    wanted = parts(trained.network, trained.spec)
    opset = HALF_OPSET if precision == "fp16" else OPSET
    graphs = {name: export_graph(part, facts, opset) for name, part in wanted.items()}
    rows = _spread_rows(trained, manifest, run)
    parity = {"fp32": check_parity(trained.network, _sessions(graphs, trained), rows)}
    known = rows
    if precision == "int8-static" and calibration is not None:
        known = _spread_rows(trained, calibration, run)
    precisions = dict.fromkeys(graphs, "fp32")
    converted = {}
    for name, kind, graph in convert(graphs, precision, known):
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
    measured = {rows: Quality.model_validate(found) for rows, found in metrics.items()}
    info = info.model_copy(update={"metrics": measured, "files": _facts(files)})
    files[INFO_FILE] = (json.dumps(info.model_dump(mode="json"), indent=2) + "\n").encode()
    # Checked again: an export takes minutes, in which files may have come.
    write_folder(out, files, _check_replaceable)
    return info


def _facts(files: dict[str, bytes]) -> dict[str, FileInfo]:
    return {
        name: FileInfo(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        for name, content in files.items()
    }


def _spread_rows(trained: Trained, manifest: Manifest, run: Path) -> ClipDataset:
    """Prepare rows that are spread over a manifest."""
    chosen = np.unique(np.linspace(0, len(manifest) - 1, PARITY_ROWS).round().astype(np.int64))
    tokenizer = None if trained.spec.text is None else load_tokenizer(run / TOKENIZER_FILE)
    few = manifest.select(chosen)
    with decoded(few, trained.spec) as cache:
        rows = ClipDataset.prepare(few, trained.spec, tokenizer, cache)
        return replace(rows, inputs=list(rows.inputs))  # in memory, as the cache goes


def _is_faithful(graphs: dict[str, onnx.ModelProto], trained: Trained, rows: ClipDataset) -> bool:
    """Return whether graphs can be run, and no score is far from the network's."""
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
    """Refuse a folder that would lose more than a bundle."""
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not (out / INFO_FILE).is_file():
        raise ExportError(f"{str(out)!r} exists and is no bundle.", hint="Give another --out.")
    try:
        known = {INFO_FILE, *json.loads((out / INFO_FILE).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExportError(
            f"{str(out)!r} exists, and its {INFO_FILE} cannot be read: {error}.",
            hint="Give another --out.",
        ) from error
    entries = list(out.iterdir())
    odd = {path.name for path in entries} ^ known
    odd |= {path.name for path in entries if path.is_symlink() or not path.is_file()}
    if odd:
        raise ExportError(
            f"{str(out)!r} exists and does not hold exactly the files of its {INFO_FILE}: "
            f"{', '.join(sorted(odd))}.",
            hint="Give another --out.",
        )
