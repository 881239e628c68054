"""Every shipped recipe loads strictly and takes two steps on a small corpus."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from mmperson.config import load_recipe
from mmperson.data import Manifest, write_manifest
from mmperson.models.checkpoint import NETWORK_FILE
from mmperson.training import train

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
ROWS = 32
WORDS = ("house", "friend", "plan", "summer", "went", "told", "maybe", "because", "and", "the")


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory):
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("corpus") / "manifest.parquet"
    manifest = Manifest(
        sample_id=np.array([f"clip{row:02d}" for row in range(ROWS)]),
        source_id=np.array([f"source{row // 2:02d}" for row in range(ROWS)]),
        split=np.full(ROWS, "train"),
        fold=np.full(ROWS, -1),
        clip=(None,) * ROWS,
        transcript=tuple(" ".join(random.choice(WORDS, 3 + row % 9)) for row in range(ROWS)),
        targets=random.uniform(0.2, 0.8, (ROWS, 5)),
        descriptors=random.normal(size=(ROWS, 26)).astype(np.float32),
    )
    write_manifest(manifest, path)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_recipe_takes_two_steps(path, small_corpus, tmp_path):
    wanted = {
        "data.manifest": str(small_corpus),
        "optim.epochs": "1",
        "optim.batch_size": str(ROWS // 2),
        "run.threads": "1",
    }
    recipe = load_recipe(path)
    if recipe.teacher is not None:
        wanted |= {"teacher.steps": "2", "teacher.sources": "8"}
    if getattr(recipe.text, "start_from", None) is not None:
        wanted["text.start_from"] = "null"  # Another recipe's run, which is not there.
    train(load_recipe(path, wanted), tmp_path)
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 2
    assert (tmp_path / NETWORK_FILE).is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_recipe_says_how_to_run_it_and_has_its_file_name(path):
    text = path.read_text(encoding="utf-8")
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert f"mmperson train configs/{path.name}" in header
    assert yaml.safe_load(text)["name"].replace("-", "_") == path.stem
