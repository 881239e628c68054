"""Compare the systems that read words alone, on the same clips of First Impressions V2.

    python -m benchmarks run text-systems -- runs/impressions.parquet
    python -m benchmarks run text-systems -- runs/impressions.parquet --rows prompts
    python -m benchmarks run text-systems -- runs/impressions.parquet --rows few

Every system learns the same seeded part of the training split and scores the same part of the test
split once per seed: all epochs of its recipe, without selection. What a language model reads slowly
is compared on fewer rows: prompts, and the questionnaire, which is also judged by its keyed answers
without any training. ``scripts/fetch_smollm2.py`` fetches SmolLM2.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT
from benchmarks.quality.compare import (
    Scores,
    count_trainable,
    evaluate_seeds,
    share_cache,
    summary,
)
from benchmarks.quality.corpus import write_corpus
from mmperson.config import load_recipe
from mmperson.datasets import Manifest, read_manifest, write_manifest
from mmperson.datasets.dataset import ClipDataset
from mmperson.evaluation.baselines import BASELINES
from mmperson.evaluation.protocols import select
from mmperson.models.checkpoint import load_network
from mmperson.models.input_spec import TOKENIZER_FILE
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.preprocessing.text.inventory import trait_scores
from mmperson.training import score_run, train
from mmperson.training.encoding import encode_rows

PACKAGES = ("numpy", "torch", "transformers")
PROTOCOLS = ("official", "unseen")
SIMPLE = ("constant", "word_count")


@dataclass(frozen=True)
class System:
    """A recipe and what is changed in it.

    Attributes:
        recipe: Name of the file in ``configs``.
        changes: Dotted overrides.
    """

    recipe: str
    changes: dict[str, str] = field(default_factory=dict)


MINILM = {"text.weights": "minilm", "text.layers": "[0, 2, 4, 6]", "text.dim": "1536"}
SMOLLM2 = {"text.weights": "smollm2-135m", "text.layers": "[0, 10, 20, 30]", "text.dim": "2304"}
PLAIN = "plain_minilm"
SYSTEMS = {
    PLAIN: System("prompts_plain", MINILM),
    "prompts_minilm": System("prompts_psychology", MINILM),
    "plain_smollm2": System("prompts_plain", SMOLLM2),
    "prompts_smollm2": System("prompts_psychology", SMOLLM2),
    "contours": System("text_contours"),
    "regressor": System("text_regressor"),
    "dialogue": System("dialogue"),
    "questionnaire": System("questionnaire"),
}
"""By name in the table; all are compared with the first."""


@dataclass(frozen=True)
class Rows:
    """How many rows are drawn, and who is compared on them.

    Attributes:
        kind: End of the result file's name.
        train: Training rows.
        test: Test rows.
        systems: Names from ``SYSTEMS``.
    """

    kind: str
    train: int
    test: int
    systems: tuple[str, ...]


ROWS = {
    "many": Rows(
        "text-systems",
        2000,
        1000,
        (PLAIN, "prompts_minilm", "plain_smollm2", "contours", "regressor", "dialogue"),
    ),
    "prompts": Rows(
        "prompts", 600, 300, (PLAIN, "prompts_minilm", "plain_smollm2", "prompts_smollm2")
    ),
    "few": Rows("questionnaire", 200, 200, (PLAIN, "questionnaire")),
}


def draw_rows(manifest: Manifest, train_rows: int, test_rows: int) -> Manifest:
    """Draw training and test rows with words, by a fixed seed; in the order of the manifest."""
    words = np.array([bool(text.strip()) for text in manifest.transcript])
    random = np.random.default_rng(0)
    keep = np.zeros(len(manifest), dtype=np.bool_)
    for split, count in (("train", train_rows), ("test", test_rows)):
        keep[random.permutation(np.flatnonzero((manifest.split == split) & words))[:count]] = True
    return manifest.select(keep)


def evaluate_systems(
    manifest: Manifest, names: list[str], seeds: int, folder: Path
) -> list[dict[str, Any]]:
    """Train every system on the training rows and evaluate it on the test rows."""
    path = folder / f"rows-{len(manifest)}.parquet"
    write_manifest(manifest, path)
    train_rows, rows = manifest.where_split("train"), manifest.where_split("test")
    scores: dict[str, list[Scores]] = {name: [BASELINES[name](train_rows, rows)] for name in SIMPLE}
    facts: dict[str, dict[str, Any]] = {name: {"parameters": 0, "cpu_s": 0.0} for name in SIMPLE}
    for name in names:
        begun = time.process_time()
        runs = [folder / f"{name}-{seed}-{len(manifest)}" for seed in range(seeds)]
        scores[name] = [
            train_and_score(SYSTEMS[name], seed, path, run, rows, folder)
            for seed, run in enumerate(runs)
        ]
        facts[name] = {"parameters": count_trainable(runs[0]), "cpu_s": time.process_time() - begun}
        if name == "questionnaire":
            scores["keyed answers"] = [trait_scores(inventory_answers(runs[0], rows, folder))]
            facts["keyed answers"] = {"parameters": 0, "cpu_s": 0.0}
        print(name, {k: f"{np.mean(v):.4f}" for k, v in summary(scores[name], rows).items()})
    return [
        {
            "system": name,
            "protocol": protocol,
            **facts[name],
            **evaluate_seeds(
                found, None if name == PLAIN else scores.get(PLAIN), rows, train_rows, mask
            ),
        }
        for protocol, mask in ((name, select(name, train_rows, rows)) for name in PROTOCOLS)
        for name, found in scores.items()
    ]


def train_and_score(
    system: System, seed: int, manifest: Path, run: Path, rows: Manifest, folder: Path
) -> Scores:
    """Train a system, and score rows by its network after the last epoch."""
    changes = {**system.changes, "data.manifest": str(manifest), "seed": str(seed)}
    recipe = load_recipe(ROOT / "configs" / f"{system.recipe}.yaml", changes)
    train(share_cache(recipe, folder), run)
    return score_run(run, rows, cache=folder / "cache")


def inventory_answers(run: Path, rows: Manifest, folder: Path) -> Scores:
    """Return the language model's answers to the inventory, float (row, item) on [-1, 1]."""
    trained = load_network(run)
    tokenizer = load_tokenizer(run / TOKENIZER_FILE)
    encoded = encode_rows(
        trained.network,
        ClipDataset.prepare(rows, trained.spec, tokenizer),
        "text",
        folder / "cache",
    )
    return np.stack([states.numpy()[:, 0] for states in encoded.features["text"]]).astype(
        np.float64
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", choices=ROWS, default="many")
    parser.add_argument("--systems", help="names from SYSTEMS; default: those of the rows")
    parser.add_argument("--train", type=int, help="training rows; default: those of --rows")
    parser.add_argument("--test", type=int, help="test rows; default: those of --rows")
    parser.add_argument("--keep", type=Path, help="folder for runs and features; default: none")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Draw rows, and train and evaluate every system on them."""
    chosen = ROWS[given.rows]
    manifest = draw_rows(
        read_manifest(given.manifest), given.train or chosen.train, given.test or chosen.test
    )
    names = given.systems.split(",") if given.systems else list(chosen.systems)
    rows = evaluate_systems(manifest, names, given.seeds, given.keep or folder)
    figures = {
        "seeds": given.seeds,
        "drawn": {split: int((manifest.split == split).sum()) for split in ("train", "test")},
        "cpu_s": time.process_time(),
        "rows": rows,
    }
    return {chosen.kind: figures}


def smoke(folder: Path) -> list[str]:
    for system in SYSTEMS.values():
        path = ROOT / "configs" / f"{system.recipe}.yaml"
        assert load_recipe(path, system.changes).modalities == ("text",), system
    path = write_corpus(folder, train=24, test=12)
    manifest = read_manifest(path)
    many, few = draw_rows(manifest, 20, 8), draw_rows(manifest, 5, 2)
    assert [int((many.split == name).sum()) for name in ("train", "test")] == [20, 8]
    assert all(text.strip() for text in draw_rows(manifest, 99, 99).transcript)
    assert set(few.sample_id) < set(many.sample_id)
    assert many.sample_id.tolist() == sorted(many.sample_id.tolist())
    return [str(path), "--seeds", "1", "--systems", PLAIN, "--train", "16", "--test", "8"]
