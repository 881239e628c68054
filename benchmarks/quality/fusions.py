"""Compare fusions on the same features, with three seeds, intervals and paired differences.

    python benchmarks/fusions.py impressions runs/impressions.parquet
    python benchmarks/fusions.py youtube runs/youtube.parquet
    python benchmarks/fusions.py    # only render, from the newest result files

On First Impressions every recipe of the list learns from the training split as it stands in
``configs/`` and scores validation once per seed: all epochs without selection, save
``ttfn_published``, whose epoch is chosen on a fold of the training split. On YouTube Personality
the fusions take the place of the one in ``configs/youtube.yaml``, whose schedule they share, and
every vlog is scored by the network of the fold that left it out. A result file is never
overwritten.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from compare import Scores, cells, judge, learnable, shared, summary, versus
from impressions import render
from result_file import ROOT, describe_environment, newest_result, write_result

from mmperson.config import Recipe, load_recipe
from mmperson.datasets import Manifest, read_manifest
from mmperson.evaluation.protocols import select
from mmperson.training import score_run, train
from mmperson.training.setup import split_rows

FUSIONS = (
    "concat", "late", "gated_pairs", "trait_query", "ttfn", "ttfn_published", "crmf",
    "crmf_euclidean",
)  # fmt: skip


def impressions(
    manifest: Manifest, path: Path, names: list[str], seeds: int, folder: Path
) -> list[dict[str, Any]]:
    """Train every fusion on the training split and judge it on validation."""
    learned, rows = manifest.where_split("train"), manifest.where_split("validation")
    judged = {name: select(name, learned, rows) for name in ("official", "unseen")}
    scores: dict[str, list[Scores]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name in names:
        begun = time.process_time()
        for seed in range(seeds):
            changes = {"data.manifest": str(path), "seed": str(seed)}
            recipe = load_recipe(ROOT / "configs" / f"{name}.yaml", changes)
            run = folder / f"{name}-{seed}"
            train(shared(recipe, folder), run)
            scores.setdefault(name, []).append(score_run(run, rows, cache=folder / "cache"))
        facts[name] = {"parameters": learnable(run), "cpu_s": time.process_time() - begun}
        print(name, {k: round(np.mean(v), 4) for k, v in summary(scores[name], rows).items()})
    return [
        compared(name, protocol, scores, facts[name], rows, learned, mask)
        for protocol, mask in judged.items()
        for name in names
    ]


def youtube(
    manifest: Manifest, path: Path, names: list[str], seeds: int, folder: Path
) -> list[dict[str, Any]]:
    """Train every fusion on nine tenths of the vloggers, ten times, and judge the tenth."""
    scores: dict[str, list[Scores]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name in names:
        begun = time.process_time()
        for seed in range(seeds):
            out = np.full(manifest.targets.shape, np.nan)
            for fold in range(10):
                recipe = youtube_recipe(name, path, seed, fold)
                run = folder / f"{name}-{seed}-{fold}"
                train(shared(recipe, folder), run)
                _, held = split_rows(recipe, manifest)
                assert held is not None
                rows = np.isin(manifest.sample_id, held.sample_id)
                out[rows] = score_run(run, manifest.select(rows), cache=folder / "cache")
            scores.setdefault(name, []).append(out)
        facts[name] = {"parameters": learnable(run), "cpu_s": time.process_time() - begun}
        print(name, {k: round(np.mean(v), 4) for k, v in summary(scores[name], manifest).items()})
    every = np.ones(len(manifest), dtype=np.bool_)
    return [
        compared(name, "ten folds", scores, facts[name], manifest, manifest, every)
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
    # These traits hardly go together, and members that all of them share learn what they have in
    # common.
    content["heads"] |= {"shared": False}
    # The last epoch counts: choosing one on the held-out fold would leak it into its own score.
    content["data"] |= {"manifest": str(path), "held_out": fold}
    content["run"] |= {"select_metric": "last"}
    return Recipe.model_validate(content)


def compared(
    name: str,
    protocol: str,
    scores: Mapping[str, list[Scores]],
    facts: dict[str, Any],
    rows: Manifest,
    learned: Manifest,
    mask: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Judge a fusion's seeds, and the mean of their scores beside that of ``concat``."""
    base = None if name == "concat" else scores["concat"]
    row = judge(scores[name], base, rows, learned, mask)
    if base is not None:
        row["minus_concat"] = row.pop("difference")
    return {"fusion": name, "protocol": protocol, **facts, **row}


def table(result: dict[str, Any]) -> str:
    """Render a result as a Markdown table."""
    lines = [
        "| fusion | rows | parameters | 1-MAE | R² | PCC | CCC | R² minus concat's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        difference = versus(row["minus_concat"]) if "minus_concat" in row else ""
        lines.append(
            f"| {row['fusion']} | {row['protocol']} | {row['parameters']:,} | "
            f"{' | '.join(cells(row))} | {difference} |"
        )
    return "\n".join([
        *lines,
        "",
        f"Mean ± standard deviation over {result['seeds']} seeds, per trait, then averaged. The "
        "last column compares the means of the seeds' scores on the same rows, with its 95 % "
        "interval from a bootstrap over source videos or persons; *noise* where that holds zero. "
        f"From `results/{result['file']}`, made by `{result['command']}` in "
        f"{result['cpu_s'] / 60:.0f} CPU minutes ({result['hardware']}).",
    ])  # fmt: skip


def render_readme() -> None:
    """Put the newest tables into the benchmarks' README."""
    path = ROOT / "benchmarks" / "README.md"
    text = path.read_text(encoding="utf-8")
    for corpus in CORPORA:
        result = newest_result(f"{corpus}-fusions")
        if result is not None:
            text = render(text, f"fusions {corpus}", table(result))
    path.write_text(text, encoding="utf-8")


CORPORA = {"impressions": impressions, "youtube": youtube}


def main() -> None:
    """Measure, write the result file, and render the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", choices=CORPORA, nargs="?", help="without it, only render")
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fusions", default=",".join(FUSIONS), help="concat and others")
    parser.add_argument("--keep", type=Path, help="folder for runs and features; default: none")
    arguments = parser.parse_args()
    if arguments.corpus is not None:
        if arguments.manifest is None:
            parser.error("give the corpus's manifest")
        facts = describe_environment(("numpy", "torch", "transformers"), threads=1)
        manifest = read_manifest(arguments.manifest)
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.keep or Path(temporary)
            measure = CORPORA[arguments.corpus]
            names = arguments.fusions.split(",")
            rows = measure(manifest, arguments.manifest, names, arguments.seeds, folder)
        figures = {"seeds": arguments.seeds, "cpu_s": time.process_time(), "rows": rows}
        write_result(f"{arguments.corpus}-fusions", facts, figures)
    render_readme()


if __name__ == "__main__":
    main()
