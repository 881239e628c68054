"""A kind of input owns its behaviour: nothing outside its class knows it."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mmperson.config import parse_recipe
from mmperson.datasets import read_manifest, write_manifest
from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.rows import read_unchanged
from mmperson.errors import ConfigError
from mmperson.media import read_clip
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.input_spec import input_spec
from mmperson.models.registry import ENCODERS
from mmperson.preprocessing import collate, prepare_clip
from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.spec import INPUTS
from tests.fixtures import peak
from tests.fixtures.media import write_clip
from tests.fixtures.peak import PeakSpec

PACKAGE = Path(__file__).parents[2] / "mmperson"
ASKS = re.compile(r"isinstance\(.*(Spec|Encoder|Config)\b|case \w*(Spec|Encoder|Config)\(")


SCRIPT = """
import json, mmperson
run = mmperson.train("recipe.yaml", "run").run
mmperson.export(run, "bundle", "manifest.parquet", precision="fp32")
scores = []
keep = lambda rows, found: scores.extend(found)
mmperson.evaluate("manifest.parquet", "validation", run=run, draws=100, on_scores=keep)
record = mmperson.load("bundle").predict("0.wav")
print(json.dumps([list(scores[0]), list(record.scores.model_dump().values())]))
"""


@pytest.fixture(autouse=True)
def _peak(monkeypatch):
    """The one line that an input takes."""
    monkeypatch.setitem(INPUTS["audio"], "peak", PeakSpec)


def peak_recipe(**sections):
    audio = {"name": "peak", "window_s": 4.0, "dim": 8}
    data = {"manifest": "none.parquet"}
    return parse_recipe({"name": "peak", "data": data, "audio": audio, **sections}, source="test")


def test_nobody_asks_for_the_type_of_a_spec_an_encoder_or_a_section():
    asking = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if ASKS.search(line)
    ]
    assert asking == []


def test_a_new_input_is_read_prepared_collated_and_cached(tmp_path):
    spec = input_spec(peak_recipe())
    path = str(write_clip(tmp_path / "clip.mp4", duration_s=1.9))
    inputs = prepare_clip(read_clip(path, **spec.read_options()), None, spec, None)
    assert inputs.audio.shape == (2, 1)
    batch = collate([inputs, ClipInputs()], spec)
    assert batch["audio_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    cache = FeatureCache(tmp_path / "cache", spec)
    cache.write(*read_unchanged(path, spec.subset(["audio"])))
    np.testing.assert_array_equal(cache.load(path, "audio"), inputs.audio)


@pytest.mark.slow
def test_one_file_and_one_line_train_evaluate_export_and_score(tmp_path, manifest_file):
    package = tmp_path / "mmperson"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(peak.__file__, package / "preprocessing" / "audio" / "peak.py")
    registry = package / "preprocessing" / "spec.py"
    lines = registry.read_text(encoding="utf-8").splitlines()
    lines.insert(lines.index('    "audio": {') + 1, '        "peak": PeakSpec,')
    place = lines.index("from mmperson.preprocessing.columns import ColumnSpec")
    lines.insert(place, "from mmperson.preprocessing.audio.peak import PeakSpec")
    registry.write_text("\n".join(lines), encoding="utf-8")
    sound = {"video_codec": None, "audio_codec": "pcm_s16le"}
    for i, seconds in enumerate((1.2, 2.7, 4.4)):
        write_clip(tmp_path / f"{i}.wav", duration_s=seconds, **sound)
    rows = read_manifest(manifest_file).select(np.arange(2, 26))
    rows = replace(
        rows,
        clip=tuple(str(tmp_path / f"{row % 3}.wav") for row in range(24)),
        split=np.array(["train"] * 15 + ["validation"] * 9),
    )
    write_manifest(rows, tmp_path / "manifest.parquet")
    recipe = peak_recipe(
        data={"manifest": "manifest.parquet"},
        fusion={"name": "concat", "dim": 16},
        heads={"members": 4},
        optim={"epochs": 1, "batch_size": 8},
        run={"threads": 1, "cache": "cache"},
    )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    network, bundle = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(bundle, network, atol=1e-5)
    log = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert max(json.loads(line)["step"] for line in log) == 2
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 3
    assert "peaks" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_a_recipe_of_a_new_input_is_strict_hashed_and_pickled():
    recipe = peak_recipe()
    assert parse_recipe(yaml.safe_load(recipe.to_yaml()), source="test") == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert recipe.hash != peak_recipe(audio={"name": "peak", "window_s": 5.0, "dim": 8}).hash
    for key, value, message in (
        ("name", "peek", "'audio.name' is 'peek'; .* peak.*Did you mean 'peak'"),
        ("windows_s", 5.0, "unknown key 'audio.windows_s' .Did you mean 'window_s'"),
        ("window_s", -1.0, "'audio.window_s' is -1.0: .*greater than 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            peak_recipe(audio={"name": "peak", key: value})


@pytest.mark.parametrize(
    "encoder", [x for encoders in ENCODERS.values() for x in encoders.values()]
)
def test_every_encoder_says_what_it_reads(encoder):
    assert "spec" in {
        name for base in encoder.__mro__ if base is not Encoder for name in vars(base)
    }
