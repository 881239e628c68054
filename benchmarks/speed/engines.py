"""What each graph costs on the CPU, by precision and provider, and how far its scores are off.

    python benchmarks/engines.py            # measures, writes a result file, renders the README
    python benchmarks/engines.py --render   # only renders
    python benchmarks/engines.py --keep DIR # keeps the random networks, which need torch to be made

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
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from impressions import render
from result_file import ROOT, describe_environment, newest_result, write_result

from mmperson.errors import UsageError
from mmperson.inference.bundle import DEFAULT_BUNDLE, Bundle, open_bundle
from mmperson.inference.predictor import Predictor
from mmperson.inference.providers import Provider, available
from mmperson.inference.session import GraphValue, Session
from mmperson.media import read_clip
from mmperson.preprocessing.clip import ClipInputs, prepare_clip
from mmperson.preprocessing.collate import collate
from mmperson.schema import MODALITIES

CLIP = ROOT / "docs" / "demo" / "demo.mp4"
RANDOM = "three_modalities, random weights"
PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
BATCHES = (1, 8)
ENOUGH_S = 0.5
"""CPU time after which a graph has been repeated enough; three times in any case."""


def main() -> None:
    """Measure and render, or only render."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="only render the README")
    parser.add_argument("--keep", type=Path, help="folder of the random networks' bundles")
    given = parser.parse_args()
    if not given.render:
        facts = describe_environment(("numpy",), threads=1)
        facts["versions"]["onnxruntime"] = ort.__version__
        facts["load_average"] = round(os.getloadavg()[0], 2)
        with tempfile.TemporaryDirectory() as folder:
            rows = measure_all(given.keep or Path(folder))
        write_result("engines", facts, {"rows": rows})
    page = ROOT / "benchmarks" / "README.md"
    text = render(page.read_text(encoding="utf-8"), "engines", table(newest_result("engines")))
    page.write_text(text, encoding="utf-8")


def measure_all(folder: Path) -> list[dict[str, Any]]:
    """Measure both networks on every provider at hand; return a row per graph."""
    rows = measure_network(DEFAULT_BUNDLE, {"as shipped": open_bundle(DEFAULT_BUNDLE)})
    if not (folder / PRECISIONS[-1]).is_dir():
        make_random(folder)
    return rows + measure_network(RANDOM, {name: open_bundle(folder / name) for name in PRECISIONS})


def make_random(folder: Path) -> None:
    """Train ``three_modalities`` for a step and export it in every precision."""
    from training_speed import write_corpus  # Here, because it loads torch.

    from mmperson.config import load_recipe
    from mmperson.datasets import read_manifest
    from mmperson.exporting import export_run
    from mmperson.training import train

    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    write_corpus(CLIP, 2, corpus)
    changes = {"data.manifest": str(corpus / "manifest.parquet")}
    changes |= {"optim.epochs": "1", "augment": "null", "optim.ema_decay": "null"}
    changes |= {"run.threads": "1"}
    recipe = load_recipe(ROOT / "configs" / "three_modalities.yaml", changes)
    run = train(recipe, folder / "run").run
    manifest = read_manifest(corpus / "manifest.parquet")
    for name in PRECISIONS:
        export_run(run, folder / name, manifest, precision=name)


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
    clip = read_clip(CLIP, threads="none", **predictor.spec.read_options())
    words = CLIP.with_suffix(".txt").read_text(encoding="utf-8")
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


def table(result: dict[str, Any] | None) -> str:
    """Return the newest result as Markdown."""
    if result is None:
        return "Not measured yet."
    names = ("network", "graph", "precision", "provider")
    heads = (*names, "CPU ms per clip, alone", "in eights", "largest change of a score")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in result["rows"]:
        times = (f"{row[f'cpu_ms_batch_{size}']:.2f}" for size in BATCHES)
        cells = (*(row[name] for name in names), *times)
        lines.append(f"| {' | '.join(cells)} | {row['change_of_scores']:.1e} |")
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    note = (
        f"Medians on one thread ({result['hardware']}, {versions}; load average "
        f"{result['load_average']} at the start). Random weights are there for their time: how far "
        f"their scores move means nothing. From `results/{result['file']}`, made by "
        f"`{result['command']}`."
    )
    return "\n".join([*lines, "", note])


if __name__ == "__main__":
    main()
