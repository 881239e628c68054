"""Every shipped recipe loads strictly, takes two steps, exports, and passes parity."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from mmperson.config import Recipe, load_recipe
from mmperson.datasets import Manifest, read_manifest, write_manifest
from mmperson.exporting import export_run
from mmperson.exporting.parity import TOLERANCE
from mmperson.inference.predictor import load
from mmperson.models.encoders.frames import image_network
from mmperson.models.encoders.voice import VoiceNetwork
from mmperson.training import train
from mmperson.traits import TRAITS
from tests.fixtures.media import write_clip

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
ROWS = 16
WORDS = ("house", "friend", "plan", "summer", "went", "told", "maybe", "because", "and", "the")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Two clips, said to be many; features, words and labels are random."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("corpus")
    clips = [str(write_clip(folder / f"{i}.mp4", size=(128, 96), noise=bool(i))) for i in range(2)]
    recipes = [load_recipe(path) for path in CONFIGS]
    names = {name for r in recipes for name in (*columns(r), *r.data.targets[len(TRAITS) :])}
    extras = {name: random.normal(size=ROWS) for name in sorted(names)}
    manifest = Manifest(
        sample_id=np.array([f"clip{row:02d}" for row in range(ROWS)]),
        source_id=np.array([f"source{row:02d}" for row in range(ROWS)]),
        split=np.full(ROWS, "train"),
        fold=np.full(ROWS, -1),
        clip=tuple(clips[row % 2] for row in range(ROWS)),
        transcript=tuple(" ".join(random.choice(WORDS, 3 + row % 9)) for row in range(ROWS)),
        targets=random.uniform(0.2, 0.8, (ROWS, 5)),
        descriptors=random.normal(size=(ROWS, 26)).astype(np.float32),
        extras={**extras, "question_id": np.array([str(row % 3) for row in range(ROWS)])},
    )
    path = folder / "manifest.parquet"
    write_manifest(manifest, path)
    return path


def columns(recipe: Recipe) -> tuple[str, ...]:
    """Feature columns that a recipe reads."""
    return tuple(
        name for part in (recipe.video, recipe.audio) for name in getattr(part, "columns", ())
    )


def random_weights(recipe: Recipe, folder: Path) -> dict[str, str]:
    """Stand-ins for the fetched weights of image and speaker networks."""
    networks = {}
    if getattr(recipe.video, "weights", None) is not None:
        networks["video"] = image_network(recipe.video.backbone)
    if getattr(recipe.audio, "weights", None) is not None:
        networks["audio"] = VoiceNetwork()
    for name, network in networks.items():
        save_file(network.state_dict(), folder / f"{name}.safetensors")
    return {f"{name}.weights": str(folder / f"{name}.safetensors") for name in networks}


def shortened(
    path: Path, corpus: Path, tiny_text_weights: Path, tiny_language_model: Path, folder: Path
) -> Recipe:
    """The recipe with the same network in two steps; a tiny text encoder where one is read."""
    recipe = load_recipe(path)
    wanted = {
        "data.manifest": str(corpus),
        "data.folds": "2",
        "optim.epochs": "1",
        "optim.batch_size": str(ROWS // 2 if recipe.data.held_out is None else ROWS // 4),
        "run.threads": "1",
    }
    if recipe.teacher is not None:
        wanted |= {"teacher.steps": "2", "teacher.sources": "8"}
    if recipe.text is not None:
        wanted |= {"text.max_tokens": str(min(128, recipe.text.max_tokens))}
        if recipe.text.name == "questionnaire":
            wanted |= {"text.weights": str(tiny_language_model)}
        else:
            wanted |= {"text.weights": str(tiny_text_weights), "text.layers": "[0, 2]"}
            wanted |= {"text.trainable_layers": str(min(2, recipe.text.trainable_layers))}
            wanted |= {"text.stride": str(min(2, recipe.text.stride))}
    smaller = {"video.frames": "2", "video.size": "64", "audio.window_s": "2.0"}
    for name, value in smaller.items():
        section, key = name.split(".")
        if hasattr(getattr(recipe, section), key):
            wanted[name] = value
    if recipe.augment is not None and recipe.augment.seconds is not None:
        wanted["augment.seconds"] = "1.0"
    return load_recipe(path, {**wanted, **random_weights(recipe, folder)})


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_recipe_trains_exports_and_says_the_same(
    path, corpus, tiny_text_weights, tiny_language_model, tmp_path
):
    recipe = shortened(path, corpus, tiny_text_weights, tiny_language_model, tmp_path)
    train(recipe, tmp_path / "run")
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 2
    rows = read_manifest(corpus).select(np.arange(4))
    info = export_run(tmp_path / "run", tmp_path / "bundle", rows, precision="fp32")
    assert info.parity["fp32"] <= TOLERANCE
    record = load(tmp_path / "bundle").predict(rows.clip[0], transcript=rows.transcript[0])
    if columns(recipe) and recipe.text is None:
        assert record.error is not None
    else:
        assert record.scores is not None


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_recipe_says_how_to_run_it_and_has_its_file_name(path):
    text = path.read_text(encoding="utf-8")
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert f"mmperson train configs/{path.name}" in header
    assert yaml.safe_load(text)["name"].replace("-", "_") == path.stem
