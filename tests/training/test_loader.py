import numpy as np
import pytest
import torch

from mmperson.config import parse_recipe
from mmperson.datasets import Manifest
from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.dataset import ClipDataset
from mmperson.datasets.rows import PreparedRows
from mmperson.models.input_spec import input_spec
from mmperson.training.distributed import DistributedContext
from mmperson.training.loader import StepDataset
from tests.fixtures.media import write_clip

ROWS = 6


@pytest.fixture(scope="module")
def recipe():
    return parse_recipe(
        {
            "name": "clips",
            "data": {"manifest": "none.parquet"},
            "video": {"name": "residual", "frames": 4, "size": 64},
            "audio": {"name": "residual", "window_s": 2.0},
            "fusion": {"name": "deep_impression"},
            "heads": {"name": "per_trait"},
            "augment": {"frames": 2, "seconds": 1.0},
            "optim": {"batch_size": 4, "epochs": 2},
        },
        source="test",
    )


@pytest.fixture(scope="module")
def rows(recipe, tmp_path_factory) -> ClipDataset:
    folder = tmp_path_factory.mktemp("clips")
    clips = [write_clip(folder / f"{i}.mp4", size=(96, 72), noise=i % 2 == 1) for i in range(ROWS)]
    manifest = Manifest(
        sample_id=np.array([f"clip{i}" for i in range(ROWS)]),
        source_id=np.array([f"clip{i}" for i in range(ROWS)]),
        split=np.full(ROWS, "train"),
        fold=np.full(ROWS, -1),
        clip=tuple(map(str, clips)),
        transcript=("",) * ROWS,
        targets=np.full((ROWS, 5), 0.5),
        descriptors=np.full((ROWS, 26), np.nan, dtype=np.float32),
    )
    spec = input_spec(recipe)
    return ClipDataset.prepare(manifest, spec, None, FeatureCache(folder / "cache", spec))


def test_large_inputs_stay_on_the_disk(rows):
    assert isinstance(rows.inputs, PreparedRows)
    assert rows.present[:, :2].all()


@pytest.mark.slow
def test_workers_prepare_the_same_batches(recipe, rows):
    alone = list(StepDataset(rows, recipe, DistributedContext()).from_step(1))
    run = recipe.run.model_copy(update={"workers": 2})
    helped = list(
        StepDataset(rows, recipe.model_copy(update={"run": run}), DistributedContext()).from_step(1)
    )
    assert len(alone) == len(helped) == 3
    for mine, theirs in zip(alone, helped, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_augmentation_draws_frames_and_a_part_of_the_sound(recipe, rows):
    steps = StepDataset(rows, recipe, DistributedContext())
    size, batch = len(steps.rows_of(0)), steps[0]
    assert batch["video"].shape == (size, 2, 3, 64, 64)
    assert batch["video"].dtype == torch.uint8
    assert batch["audio"].shape == (size, 16_000)
    plain = StepDataset(rows, recipe.model_copy(update={"augment": None}), DistributedContext())[0]
    assert plain["video"].shape == (size, 4, 3, 64, 64)
    assert plain["audio"].shape == (size, 32_000)


def test_a_step_follows_from_its_seed_and_number(recipe, rows):
    steps = StepDataset(rows, recipe, DistributedContext())
    assert torch.equal(steps[1]["video"], steps[1]["video"])
    other = recipe.model_copy(update={"seed": 1})
    assert not torch.equal(
        StepDataset(rows, other, DistributedContext())[1]["audio"], steps[1]["audio"]
    )


def test_processes_share_a_step(recipe, rows):
    whole = StepDataset(rows, recipe, DistributedContext()).rows_of(0)
    shares = [
        StepDataset(rows, recipe, DistributedContext(rank, 3)).context.shard(whole)
        for rank in range(3)
    ]
    assert sorted(np.concatenate(shares).tolist()) == sorted(whole.tolist())
