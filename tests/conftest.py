"""Fixtures that several rooms share."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from mmperson.config import Recipe, parse_recipe
from mmperson.datasets import Manifest, read_manifest, write_manifest

# Fixtures import torch themselves, so that the tests of a torch-free room start at once.

ROOT = Path(__file__).resolve().parent.parent

# No deadline: a busy machine is no failure. The quick suite draws fewer examples.
hypothesis.settings.register_profile("whole", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    quick = config.option.markexpr == "not slow"
    hypothesis.settings.load_profile("quick" if quick else "whole")


@pytest.fixture(autouse=True)
def _seed_torch() -> None:
    """Give torch the same draws whatever ran before; pytest-randomly does so for numpy."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real corpora and clips: MMPERSON_DATA, or ../shared/data beside the project."""
    folder = Path(os.environ.get("MMPERSON_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no real data at {folder}; set MMPERSON_DATA to the folder that holds it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def first_impressions(shared_data: Path) -> Path:
    return shared_data / "first_impressions_v2"


@pytest.fixture(scope="session")
def tiny_text_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer BERT of width 16 with the real tokenizer: for plumbing."""
    import torch
    from transformers import BertConfig, BertModel

    from mmperson.models.encoders.text import text_weights_folder

    folder = tmp_path_factory.mktemp("tiny_bert")
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=30_522,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    BertModel(shape).save_pretrained(folder)
    shutil.copyfile(text_weights_folder("minilm") / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory, tiny_text_weights: Path) -> Path:
    """Folder of a random two-layer Llama of width 16, with the same tokenizer: for plumbing."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny_llama")
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=30_522, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    shutil.copyfile(tiny_text_weights / "tokenizer.json", folder / "tokenizer.json")
    return folder


WORDS = ("calm", "quick", "bright", "house", "garden", "plan", "laugh", "river", "stone", "maybe")


def make_corpus(rows: int = 48) -> Manifest:
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(rows, 26)).astype(np.float32)
    descriptors[0] = np.nan
    heard = np.nan_to_num(descriptors[:, :5])
    texts = [" ".join(random.choice(WORDS, size=1 + row % 7)) for row in range(rows)]
    texts[1] = ""
    return Manifest(
        sample_id=np.array([f"clip{row:03d}" for row in range(rows)]),
        source_id=np.array([f"source{row // 3:02d}" for row in range(rows)]),
        split=np.array(["train"] * (rows - 12) + ["validation"] * 12),
        fold=np.full(rows, -1),
        clip=(None,) * rows,
        transcript=tuple(texts),
        targets=(0.5 + 0.1 * np.tanh(heard)).astype(np.float64),
        descriptors=descriptors,
        extras={},
    )


@pytest.fixture(scope="session")
def manifest_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "manifest.parquet"
    write_manifest(make_corpus(), path)
    return path


@pytest.fixture(scope="session")
def tiny_recipe(manifest_file: Path, tiny_text_weights: Path) -> Recipe:
    return parse_recipe(
        {
            "name": "tiny",
            "data": {"manifest": str(manifest_file)},
            "text": {"weights": str(tiny_text_weights), "layers": [0, 2], "trainable_layers": 1},
            "audio": {"tokens": 2, "dim": 16},
            "fusion": {"dim": 16, "heads": 2},
            "heads": {"members": 4},
            "optim": {"epochs": 2, "batch_size": 8, "ema_decay": 0.9},
            "run": {"checkpoint_steps": 2, "threads": 1},
        },
        source="test",
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a network that learned for two epochs from noise: for plumbing."""
    from mmperson.training import train

    return train(tiny_recipe, tmp_path_factory.mktemp("run") / "tiny").run


@pytest.fixture(scope="session")
def tiny_export(
    tiny_run: Path, manifest_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Bundle folder of that network, and the fp32 graphs that were made on the way."""
    from mmperson.exporting import bundle, export_run

    out, graphs, export_graph = tmp_path_factory.mktemp("bundle") / "tiny", {}, bundle.export_graph

    def recorded(part: Any, *arguments: Any) -> Any:
        name = "fusion" if part.outputs == ("scores",) else "encoder_" + part.outputs[0][:-7]
        return graphs.setdefault(name, export_graph(part, *arguments))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "export_graph", recorded)
        export_run(tiny_run, out, read_manifest(manifest_file))
    return out, graphs


@pytest.fixture(scope="session")
def tiny_bundle(tiny_export: tuple[Path, dict[str, Any]]) -> Path:
    """Bundle folder of that network. Copy it before you change it."""
    return tiny_export[0]


@pytest.fixture(scope="session")
def demo(project_root: Path) -> Path:
    return project_root / "docs" / "demo" / "demo.mp4"
