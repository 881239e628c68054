"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
    """Folder of a random two-layer BERT of width 16 with the real tokenizer: for shapes, not scores."""
    import shutil

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
