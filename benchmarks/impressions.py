"""Measure a bundle on First Impressions V2 and put the table into the README.

    python benchmarks/impressions.py runs/impressions.parquet

Every set of rows is scored once for each combination of modalities. Besides, the clips that lie
beside the manifest are scored from their mp4 and transcript and compared with the scores from the
published audio features. The result file is never overwritten.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import mmperson
from mmperson.data import read_manifest
from mmperson.data.manifest import Manifest
from mmperson.evaluation.run import evaluate_split
from mmperson.evaluation.scoring import score_bundle
from mmperson.runtime.predictor import Predictor, load

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
METRICS = ("accuracy", "r2", "pcc", "ccc")
ROWS = [
    ("test", "text", ("official", "unseen")),
    ("validation", "text,audio", ("official", "unseen")),
    ("validation", "audio", ("official", "unseen")),
    ("validation", "text", ("official", "unseen")),
]
BESIDE = {
    "test official text": "BGE-small, published: .8890; MiniLM, fine-tuned: .8885 / .096 / .335",
    "validation official text,audio": "kernel SVR: .9021 / .272 / .521",
    "validation unseen text,audio": "kernel SVR: .8930 / .185 / .436",
}
"""What other systems reach on the same rows: 1-MAE / R2 / PCC."""


def measure(manifest: Manifest, predictor: Predictor, draws: int) -> list[dict[str, Any]]:
    """Score and judge every row of the table."""
    found = []
    for split, modalities, protocols in ROWS:
        rows = manifest.where_split(split)
        start = time.process_time()
        scores = score_bundle(predictor, rows, modalities.split(","))
        spent = (time.process_time() - start) / len(rows)
        for protocol in protocols:
            result = evaluate_split(scores, manifest, split, protocol=protocol, draws=draws)
            record = result.to_dict()
            record |= {"modalities": modalities, "cpu_ms_per_row": 1e3 * spent}
            record["beside"] = BESIDE.get(f"{split} {protocol} {modalities}")
            found.append(record)
    return found


def compare_clips(manifest: Manifest, predictor: Predictor) -> list[dict[str, Any]]:
    """Score the clips at hand from their files and from the published features."""
    found = []
    for row in np.flatnonzero([clip is not None for clip in manifest.clip]):
        part = manifest.select(np.array([row]))
        clip, text = part.clip[0], part.transcript[0]
        assert clip is not None
        record = predictor.predict(clip, transcript=text)
        assert record.scores is not None, record.error
        scores = np.array(list(record.scores.model_dump().values()))
        difference = None
        if np.isfinite(part.descriptors).all():
            published = score_bundle(predictor, replace(part, clip=(None,)))[0]
            difference = float(np.abs(scores - published).max())
        found.append(
            {"clip": str(part.sample_id[0]), "scores": scores.tolist(), "difference": difference}
        )
    return found


def table(result: dict[str, Any]) -> str:
    """Render the README's table."""
    lines = [
        "| modalities | rows | n | 1-MAE | R2 | PCC | CCC | constant | others on the same rows |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = []
        for metric in METRICS:
            low, high = row["intervals"]["mean"][metric]
            cells.append(f"{row['mean'][metric]:.4f} [{low:.3f}, {high:.3f}]")
        constant = row["baselines"]["constant"]["accuracy"]
        lines.append(
            f"| {row['modalities'].replace(',', ' + ')} | {row['split']}, {row['protocol']} | "
            f"{row['n']} | {' | '.join(cells)} | {constant:.4f} | {row['beside'] or ''} |"
        )
    differences = [clip["difference"] for clip in result["clips"] if clip["difference"] is not None]
    lines += [
        "",
        f"From `benchmarks/results/{result['file']}`, made by `{result['command']}`. "
        f"{len(result['clips'])} clips were also scored from mp4 and transcript; where published "
        f"features exist ({len(differences)}), no score differs by more than "
        f"{max(differences, default=0.0):.4f} from the score of those features.",
    ]
    return "\n".join(lines)


def render(readme: str, mark: str, content: str) -> str:
    """Replace what stands between ``<!-- mark -->`` and ``<!-- end mark -->``."""
    start, end = f"<!-- {mark} -->", f"<!-- end {mark} -->"
    head, rest = readme.split(start)
    tail = rest.split(end)[1] if end in rest else rest
    return f"{head}{start}\n{content}\n{end}{tail}"


def main() -> None:
    """Run the measurements and write the result file and the README's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--bundle", default="weights/impressions-text-audio")
    parser.add_argument("--draws", type=int, default=2000)
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.manifest)
    predictor = load(arguments.bundle)
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    now = datetime.now(UTC)
    result: dict[str, Any] = {
        "file": f"{now:%Y-%m-%d-%H%M}-{commit}-impressions.json",
        "command": f"python benchmarks/impressions.py {arguments.manifest} "
        f"--bundle {arguments.bundle}",
        "made": now.isoformat(timespec="seconds"),
        "commit": commit,
        "mmperson": mmperson.__version__,
        "recipe_hash": predictor.bundle.info.recipe_hash,
        "python": platform.python_version(),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, one thread per graph",
        "rows": measure(manifest, predictor, arguments.draws),
        "clips": compare_clips(manifest, predictor),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / result["file"]
    with path.open("x", encoding="utf-8") as file:
        json.dump(result, file, indent=1, allow_nan=False)
        file.write("\n")
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text(encoding="utf-8"), "results", table(result)))
    print(table(result))


if __name__ == "__main__":
    main()
