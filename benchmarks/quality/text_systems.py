"""Compare the systems that read words alone, on the same clips of First Impressions V2.

    python benchmarks/text_systems.py runs/impressions.parquet
    python benchmarks/text_systems.py runs/impressions.parquet --rows prompts
    python benchmarks/text_systems.py runs/impressions.parquet --rows few
    python benchmarks/text_systems.py    # only render, from the newest result file

Every system learns the same seeded part of the training split and scores the same part of the test
split once per seed: all epochs of its recipe, without selection. What a language model reads slowly
is compared on fewer rows: prompts, and the questionnaire, which is also judged by its keyed answers
without any training. A result file is never overwritten. SmolLM2 is fetched by
``scripts/fetch_smollm2.py``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from compare import METRICS, Scores, cells, judge, learnable, shared, summary, versus
from impressions import render
from result_file import ROOT, describe_environment, newest_result, write_result

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


def measure(manifest: Manifest, names: list[str], seeds: int, folder: Path) -> list[dict[str, Any]]:
    """Train every system on the training rows and judge it on the test rows."""
    path = folder / f"rows-{len(manifest)}.parquet"
    write_manifest(manifest, path)
    learned, rows = manifest.where_split("train"), manifest.where_split("test")
    scores: dict[str, list[Scores]] = {name: [BASELINES[name](learned, rows)] for name in SIMPLE}
    facts: dict[str, dict[str, Any]] = {name: {"parameters": 0, "cpu_s": 0.0} for name in SIMPLE}
    for name in names:
        begun = time.process_time()
        runs = [folder / f"{name}-{seed}-{len(manifest)}" for seed in range(seeds)]
        scores[name] = [
            learn(SYSTEMS[name], seed, path, run, rows, folder) for seed, run in enumerate(runs)
        ]
        facts[name] = {"parameters": learnable(runs[0]), "cpu_s": time.process_time() - begun}
        if name == "questionnaire":
            scores["keyed answers"] = [trait_scores(answers(runs[0], rows, folder))]
            facts["keyed answers"] = {"parameters": 0, "cpu_s": 0.0}
        print(name, {k: f"{np.mean(v):.4f}" for k, v in summary(scores[name], rows).items()})
    return [
        {
            "system": name,
            "protocol": protocol,
            **facts[name],
            **judge(found, None if name == PLAIN else scores.get(PLAIN), rows, learned, mask),
        }
        for protocol, mask in ((name, select(name, learned, rows)) for name in PROTOCOLS)
        for name, found in scores.items()
    ]


def learn(
    system: System, seed: int, manifest: Path, run: Path, rows: Manifest, folder: Path
) -> Scores:
    """Train a system, and score rows by its network after the last epoch."""
    changes = {**system.changes, "data.manifest": str(manifest), "seed": str(seed)}
    recipe = load_recipe(ROOT / "configs" / f"{system.recipe}.yaml", changes)
    train(shared(recipe, folder), run)
    return score_run(run, rows, cache=folder / "cache")


def answers(run: Path, rows: Manifest, folder: Path) -> Scores:
    """Return the language model's answers to the inventory, float (row, item) on [-1, 1]."""
    trained = load_network(run)
    tokenizer = load_tokenizer(run / TOKENIZER_FILE)
    encoded = encode_rows(
        trained.network,
        ClipDataset.prepare(rows, trained.spec, tokenizer),
        "text",
        folder / "cache",
    )
    return np.stack([said.numpy()[:, 0] for said in encoded.features["text"]]).astype(np.float64)


def table(result: dict[str, Any]) -> str:
    """Render a result as a Markdown table."""
    lines = [
        f"| system | rows | parameters | 1-MAE | R² | PCC | CCC | R² minus that of {PLAIN} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        simple = row["parameters"] == 0
        figures = [f"{row['mean'][m]:.4f}" for m in METRICS] if simple else cells(row)
        parameters = "" if simple else f"{row['parameters']:,}"
        difference = versus(row["difference"]) if "difference" in row else ""
        lines.append(
            f"| {row['system']} | {row['protocol']}, {row['n']:,} | "
            f"{parameters} | {' | '.join(figures)} | {difference} |"
        )
    drawn = result["drawn"]
    return "\n".join([
        *lines,
        "",
        f"{drawn['train']:,} training and {drawn['test']:,} test rows with words, drawn once; "
        "*unseen* are those of whose source video no drawn training row is. Mean "
        f"± standard deviation over {result['seeds']} seeds, per trait, then averaged; parameters "
        "are those that training changes. The last column compares the means of the seeds' scores "
        "on the same rows, with its 95 % interval from a bootstrap over source videos; *noise* "
        "where that holds zero. Intervals of every figure are in "
        f"`results/{result['file']}`, made by `{result['command']}` in "
        f"{result['cpu_s'] / 60:.0f} CPU minutes ({result['hardware']}).",
    ])  # fmt: skip


def render_readme() -> None:
    """Put the newest table into the benchmarks' README."""
    path = ROOT / "benchmarks" / "README.md"
    text = path.read_text(encoding="utf-8")
    for rows in ROWS.values():
        result = newest_result(rows.kind)
        if result is not None:
            text = render(text, rows.kind, table(result))
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, write the result file, and render the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, nargs="?", help="without it, only render")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", choices=ROWS, default="many")
    parser.add_argument("--systems", help="names from SYSTEMS; default: those of the rows")
    parser.add_argument("--train", type=int, help="training rows; default: those of --rows")
    parser.add_argument("--test", type=int, help="test rows; default: those of --rows")
    parser.add_argument("--keep", type=Path, help="folder for runs and features; default: none")
    arguments = parser.parse_args()
    if arguments.manifest is not None:
        facts = describe_environment(("numpy", "torch", "transformers"), threads=1)
        manifest = read_manifest(arguments.manifest)
        chosen = ROWS[arguments.rows]
        manifest = draw_rows(
            manifest, arguments.train or chosen.train, arguments.test or chosen.test
        )
        with tempfile.TemporaryDirectory() as temporary:
            names = (arguments.systems or ",".join(chosen.systems)).split(",")
            rows = measure(manifest, names, arguments.seeds, arguments.keep or Path(temporary))
        figures = {
            "seeds": arguments.seeds,
            "drawn": {split: int((manifest.split == split).sum()) for split in ("train", "test")},
            "cpu_s": time.process_time(),
            "rows": rows,
        }
        write_result(chosen.kind, facts, figures)
    render_readme()


if __name__ == "__main__":
    main()
