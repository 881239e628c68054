"""Compare fusions on the same features, with three seeds, intervals and paired differences.

    python -m benchmarks run fusions -- impressions runs/impressions.parquet
    python -m benchmarks run fusions -- youtube runs/youtube.parquet

On First Impressions every recipe of the list learns from the training split as it stands in
``configs/`` and scores validation once per seed: all epochs without selection, save
``ttfn_published``, whose epoch is chosen on a fold of the training split. On YouTube Personality
the fusions take the place of the one in ``configs/youtube.yaml``, whose schedule they share, and
every vlog is scored by the network of the fold that left it out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import ROOT
from benchmarks.quality.compare import (
    Scores,
    count_trainable,
    evaluate_seeds,
    share_cache,
    summary,
)
from benchmarks.quality.corpus import write_corpus
from mmperson.config import Recipe, load_recipe
from mmperson.datasets import Manifest, read_manifest
from mmperson.evaluation.protocols import select
from mmperson.training import score_run, train
from mmperson.training.data import split_rows

PACKAGES = ("numpy", "torch", "transformers")
FUSIONS = (
    "concat", "late", "gated_pairs", "trait_query", "ttfn", "ttfn_published", "crmf",
    "crmf_euclidean",
)  # fmt: skip


def impressions(
    manifest: Manifest, path: Path, names: list[str], seeds: int, folder: Path
) -> list[dict[str, Any]]:
    """Train every fusion on the training split and evaluate it on validation."""
    train_rows, rows = manifest.where_split("train"), manifest.where_split("validation")
    masks = {name: select(name, train_rows, rows) for name in ("official", "unseen")}
    scores: dict[str, list[Scores]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name in names:
        begun = time.process_time()
        for seed in range(seeds):
            changes = {"data.manifest": str(path), "seed": str(seed)}
            recipe = load_recipe(ROOT / "configs" / f"{name}.yaml", changes)
            run = folder / f"{name}-{seed}"
            train(share_cache(recipe, folder), run)
            scores.setdefault(name, []).append(score_run(run, rows, cache=folder / "cache"))
        facts[name] = {"parameters": count_trainable(run), "cpu_s": time.process_time() - begun}
        print(name, {k: round(np.mean(v), 4) for k, v in summary(scores[name], rows).items()})
    return [
        compare_with_concat(name, protocol, scores, facts[name], rows, train_rows, mask)
        for protocol, mask in masks.items()
        for name in names
    ]


def youtube(
    manifest: Manifest, path: Path, names: list[str], seeds: int, folder: Path
) -> list[dict[str, Any]]:
    """Train every fusion on nine tenths of the vloggers, ten times, and evaluate the tenth."""
    scores: dict[str, list[Scores]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name in names:
        begun = time.process_time()
        for seed in range(seeds):
            out = np.full(manifest.targets.shape, np.nan)
            for fold in range(10):
                recipe = youtube_recipe(name, path, seed, fold)
                run = folder / f"{name}-{seed}-{fold}"
                train(share_cache(recipe, folder), run)
                _, held = split_rows(recipe, manifest)
                assert held is not None
                rows = np.isin(manifest.sample_id, held.sample_id)
                out[rows] = score_run(run, manifest.select(rows), cache=folder / "cache")
            scores.setdefault(name, []).append(out)
        facts[name] = {"parameters": count_trainable(run), "cpu_s": time.process_time() - begun}
        print(name, {k: round(np.mean(v), 4) for k, v in summary(scores[name], manifest).items()})
    every = np.ones(len(manifest), dtype=np.bool_)
    return [
        compare_with_concat(name, "ten folds", scores, facts[name], manifest, manifest, every)
        for name in names
    ]


def youtube_recipe(fusion: str, path: Path, seed: int, fold: int) -> Recipe:
    """Put another fusion, its heads and its loss into the recipe for YouTube Personality."""
    content = load_recipe(ROOT / "configs" / "youtube.yaml").model_dump(mode="json")
    other = load_recipe(ROOT / "configs" / f"{fusion}.yaml").model_dump(mode="json")
    size = {"dim": content["fusion"]["dim"], "dropout": content["fusion"]["dropout"]}
    size |= {"modality_dropout": content["fusion"]["modality_dropout"]}
    if fusion == "ttfn_published":
        size |= {"unimodal_dim": 2 * size["dim"]}
    content |= {key: other[key] for key in ("heads", "loss")}
    content |= {"fusion": {**other["fusion"], **size}, "seed": seed}
    # These traits hardly correlate, and members that all traits share learn what
    # the traits have in common.
    content["heads"] |= {"shared": False}
    # The last epoch counts: choosing one on the held-out fold would leak it into its own score.
    content["data"] |= {"manifest": str(path), "held_out": fold}
    content["run"] |= {"select_metric": "last"}
    return Recipe.model_validate(content)


def compare_with_concat(
    name: str,
    protocol: str,
    scores: Mapping[str, list[Scores]],
    facts: dict[str, Any],
    rows: Manifest,
    train_rows: Manifest,
    mask: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Evaluate a fusion's seeds, and the mean of their scores beside that of ``concat``."""
    base = None if name == "concat" else scores["concat"]
    row = evaluate_seeds(scores[name], base, rows, train_rows, mask)
    if base is not None:
        row["minus_concat"] = row.pop("difference")
    return {"fusion": name, "protocol": protocol, **facts, **row}


CORPORA = {"impressions": impressions, "youtube": youtube}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fusions", default=",".join(FUSIONS), help="concat and others")
    parser.add_argument("--keep", type=Path, help="folder for runs and features; default: none")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train and evaluate every fusion on a corpus."""
    names = given.fusions.split(",")
    rows = CORPORA[given.corpus](
        read_manifest(given.manifest), given.manifest, names, given.seeds, given.keep or folder
    )
    figures = {"seeds": given.seeds, "cpu_s": time.process_time(), "rows": rows}
    return {f"{given.corpus}-fusions": figures}


def smoke(folder: Path) -> list[str]:
    recipe = youtube_recipe("ttfn_published", Path("x"), 1, 9)
    assert (recipe.seed, recipe.data.held_out, recipe.run.select_metric) == (1, 9, "last")
    path = write_corpus(folder, train=24, validation=12)
    return ["impressions", str(path), "--seeds", "1", "--fusions", "concat,late"]
