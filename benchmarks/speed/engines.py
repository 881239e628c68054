"""What each graph costs on the CPU, by precision and provider, and how far its scores are off.

    python -m benchmarks run engines
    python -m benchmarks run engines -- --keep DIR   # the random networks, which only torch makes

Two networks read the demo clip and its transcript: the shipped bundle, and
``configs/three_modalities.yaml`` with random weights, exported after a single step of training.
The latter is there for the time that it takes; its scores mean nothing, and how far they move says
little about a trained network's. CPU time of all threads, the median of repeats, on one thread;
batches repeat the clip. The change is the largest of a score over subsets of modalities, if this
graph alone is converted, from the network in fp32, or as shipped, on the provider ``cpu``.
Every provider that the installed ONNX Runtime can start is measured; what ``--keep`` has left lets
an installation without torch measure the same graphs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.harness import DEMO
from benchmarks.speed.networks import random_bundles
from mmperson.errors import UsageError
from mmperson.inference.bundle import DEFAULT_BUNDLE, Bundle, open_bundle
from mmperson.inference.predictor import Predictor
from mmperson.inference.providers import Provider, available
from mmperson.inference.session import GraphValue, Session
from mmperson.media import read_clip
from mmperson.preprocessing.clip import ClipInputs, prepare_clip
from mmperson.preprocessing.collate import collate
from mmperson.schema import MODALITIES

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu")
RANDOM = "three_modalities, random weights"
PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
BATCHES = (1, 8)
ENOUGH_S = 0.5
"""CPU time after which a graph has been repeated enough; three times in any case."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", type=Path, help="folder of the random networks' bundles")
    parser.add_argument("--shipped", action="store_true", help="the shipped bundle alone")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure both networks on every provider at hand, a row per graph."""
    rows = measure_network(DEFAULT_BUNDLE, {"as shipped": open_bundle(DEFAULT_BUNDLE)})
    if not given.shipped:
        folder = given.keep or folder
        if not (folder / PRECISIONS[-1]).is_dir():
            random_bundles(folder, PRECISIONS, clips=2)
        bundles = {name: open_bundle(folder / name) for name in PRECISIONS}
        rows += measure_network(RANDOM, bundles)
    return {"engines": {"onnxruntime": ort.__version__, "rows": rows}}


def smoke(folder: Path) -> list[str]:
    return ["--shipped"]


def measure_network(network: str, bundles: dict[str, Bundle]) -> list[dict[str, Any]]:
    """Measure the graphs of every precision; the first bundle on the CPU is what they are held to.

    Each is put into the first bundle in the place of its graph, so that what the scores do is its
    own doing, and the provider's.
    """
    rows: list[dict[str, Any]] = []
    first = next(iter(bundles.values()))
    expected, seen = None, set()
    for provider, bundle in itertools.product(available(), bundles.values()):
        for graph, precision in bundle.info.precision.items():
            if (provider, graph, precision) in seen:
                continue
            seen.add((provider, graph, precision))
            file = f"{graph}.onnx"
            mixed = replace(first, files=first.files | {file: bundle.files[file]})
            try:
                predictor = Predictor(mixed, provider=provider)
            except UsageError as error:
                print(f"{provider}: {error}", file=sys.stderr)
                continue
            inputs = demo_inputs(predictor)
            scores = all_scores(predictor, inputs)
            expected = scores if expected is None else expected
            row = {"network": network, "graph": graph, "precision": precision}
            row |= {"provider": provider, **measure_graph(mixed, graph, provider, inputs)}
            rows.append({**row, "change_of_scores": float(np.abs(scores - expected).max())})
            print(rows[-1], flush=True)
    return sorted(rows, key=lambda row: (row["graph"], row["provider"], row["precision"]))


def demo_inputs(predictor: Predictor) -> ClipInputs:
    """Return what a network reads of the demo clip."""
    clip = read_clip(DEMO, threads="none", **predictor.spec.read_options())
    words = DEMO.with_suffix(".txt").read_text(encoding="utf-8")
    return prepare_clip(clip, words, predictor.spec, predictor.tokenizer)


def all_scores(predictor: Predictor, inputs: ClipInputs) -> np.ndarray:
    """Score the clip by every subset of what is read; float64 (subset, target)."""
    read = [name for name in MODALITIES if name in predictor.spec.modalities]
    sizes = range(1, len(read) + 1)
    chosen = [part for size in sizes for part in itertools.combinations(read, size)]
    return np.array([predictor.score(inputs, part) for part in chosen])


def measure_graph(
    bundle: Bundle, graph: str, provider: Provider, inputs: ClipInputs
) -> dict[str, float]:
    """Return CPU milliseconds per clip and batch size of a graph of a bundle."""
    info = bundle.info
    encoders = [f"encoder_{name}" for name in info.modalities] if graph == "fusion" else []
    sessions = {
        name: Session(bundle.files[f"{name}.onnx"], name, info.spec_hash, 1, provider)
        for name in [*encoders, graph]
    }
    found = {}
    for size in BATCHES:
        fed: dict[str, GraphValue] = dict(collate([inputs] * size, info.spec))
        fed["present"] = np.tile(inputs.present.astype(np.float32), (size, 1))
        for name in encoders:
            fed |= sessions[name].run(fed)
        found[f"cpu_ms_batch_{size}"] = round(cpu_ms(sessions[graph], fed) / size, 3)
    return found


def cpu_ms(session: Session, fed: dict[str, GraphValue]) -> float:
    """Return the median CPU time of running a graph, in milliseconds."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < 1e3 * ENOUGH_S:
        begin = time.process_time()
        session.run(fed)
        times.append(1e3 * (time.process_time() - begin))
    return statistics.median(times)
