"""What training logs of its selection rows is what evaluating its network gives."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import save_file

from mmperson.config import parse_recipe
from mmperson.datasets import read_manifest, write_manifest
from mmperson.evaluation.metrics import one_minus_mae, r2
from mmperson.models.encoders.frames import image_network
from mmperson.models.encoders.voice import VoiceNetwork
from mmperson.training import score_run, train
from mmperson.training.tracker import LOG_FILE
from tests.fixtures.media import write_clip

ROWS = 24
ENCODERS = {
    "small": {"name": "log_mel", "window_s": 6.0, "mels": 16},
    "image": {"name": "log_mel", "window_s": 6.0, "mels": 16, "backbone": "test_efficientnet"},
    "voice": {"name": "waveform", "window_s": 6.0, "network": "resemblyzer", "stride": 1},
}
WEIGHTS = {
    "image": lambda: image_network("test_efficientnet", in_chans=1),
    "voice": VoiceNetwork,
}
"""Networks that are frozen, so that training reads what was kept of them."""


@pytest.fixture(scope="module")
def manifest(manifest_file, tmp_path_factory):
    """Rows with sounds of .5 to 5 seconds."""
    folder = tmp_path_factory.mktemp("clips")
    sound = {"video_codec": None, "audio_codec": "pcm_s16le"}
    clips = [
        str(write_clip(folder / f"{i}.wav", duration_s=seconds, **sound))
        for i, seconds in enumerate((0.5, 1.7, 3.1, 5.0))
    ]
    rows = read_manifest(manifest_file).select(np.arange(2, ROWS + 2))
    path = folder / "manifest.parquet"
    clip = tuple(clips[row % len(clips)] for row in range(ROWS))
    split = np.array(["train"] * (ROWS - 8) + ["validation"] * 8)
    write_manifest(replace(rows, clip=clip, split=split), path)
    return path


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_logged_selection_is_what_evaluation_gives(
    encoder, manifest, tiny_text_weights, tmp_path
):
    audio = {**ENCODERS[encoder], "dim": 16}
    if encoder in WEIGHTS:
        save_file(WEIGHTS[encoder]().state_dict(), tmp_path / "model.safetensors")
        audio |= {"weights": str(tmp_path / "model.safetensors"), "trainable": False}
    recipe = parse_recipe(
        {
            "name": "tiny",
            "data": {"manifest": str(manifest), "select_split": "validation"},
            "audio": audio,
            "text": {"weights": str(tiny_text_weights), "layers": [0, 2]},
            "fusion": {"name": "ttfn", "dim": 16, "heads": 2},
            "heads": {"members": 4},
            "optim": {"epochs": 1, "batch_size": 8, "lr": 0.01},
            "run": {"threads": 1, "cache": str(tmp_path / "cache")},
        },
        source="test",
    )
    train(recipe, tmp_path / "run")
    lines = (tmp_path / "run" / LOG_FILE).read_text(encoding="utf-8").splitlines()
    *steps, logged = map(json.loads, lines)
    assert len(steps) == 2
    rows = read_manifest(manifest).where_split("validation")
    # Fresh features differ from kept ones by what sixteen bits round off.
    for cache, tolerance in ((tmp_path / "cache", 1e-6), (None, 1e-3)):
        scores = score_run(tmp_path / "run", rows, cache=cache)
        for name, metric in (("r2", r2), ("accuracy", one_minus_mae)):
            found = np.mean([metric(*pair) for pair in zip(scores.T, rows.targets.T, strict=True)])
            assert found == pytest.approx(logged[f"select_{name}"], abs=tolerance)
