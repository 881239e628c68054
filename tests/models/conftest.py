"""A tiny untrained network over text and audio."""

from pathlib import Path

import pytest
import torch

from mmperson.config import Recipe, parse_recipe
from mmperson.models.input_spec import input_spec
from mmperson.models.network import PersonalityNetwork


@pytest.fixture
def recipe(tiny_text_weights: Path) -> Recipe:
    return parse_recipe(
        {
            "name": "tiny",
            "data": {"manifest": "none.parquet"},
            "text": {"weights": str(tiny_text_weights), "layers": [0, 2], "trainable_layers": 1},
            "audio": {"tokens": 2, "dim": 8},
            "fusion": {"dim": 16, "heads": 2},
            "heads": {"members": 4},
        },
        source="test",
    )


@pytest.fixture
def network(recipe: Recipe) -> PersonalityNetwork:
    torch.manual_seed(0)
    return PersonalityNetwork(recipe, input_spec(recipe)).eval()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    mask = torch.ones(3, 6, dtype=torch.float32)
    mask[1, 4:] = 0
    return {
        "text": torch.randint(1000, 2000, (3, 6), generator=random) * mask.long(),
        "text_mask": mask,
        "audio": torch.randn(3, 26, generator=random),
        "audio_mask": torch.ones(3, 26),
        "present": torch.tensor([[0.0, 1.0, 1.0]] * 3),
    }
