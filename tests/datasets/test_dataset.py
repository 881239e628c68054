from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from mmperson.datasets import import_corpus
from mmperson.datasets.dataset import ClipDataset
from mmperson.datasets.rows import prepare_row
from mmperson.models.encoders.text import text_weights_folder
from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.spec import DescriptorSpec, InputSpec, TextSpec
from mmperson.preprocessing.text.encode import tokenizer_sha256


@pytest.fixture
def dataset():
    rows = 40
    lengths = np.random.default_rng(0).integers(0, 12, size=rows)
    present = np.ones((rows, 3), dtype=np.float32)
    present[:, 0] = 0
    present[lengths == 0, 2] = 0
    clips = [
        ClipInputs(
            audio=np.full(26, row, dtype=np.float32),
            text=np.arange(100, 100 + length) if length else None,
        )
        for row, length in enumerate(lengths)
    ]
    return ClipDataset(
        sample_id=np.array([f"clip{i}" for i in range(rows)]),
        source_id=np.array([f"source{i // 2}" for i in range(rows)]),
        spec=InputSpec(audio=DescriptorSpec(), text=TextSpec(tokenizer_sha256="")),
        inputs=clips,
        present=present,
        lengths=lengths,
        targets=np.full((rows, 5), 0.5, dtype=np.float32),
        groups=None,
        features={},
    )


def test_a_batch_is_padded_to_its_longest_text(dataset):
    rows = np.argsort(dataset.lengths)[-3:]
    batch = dataset.batch(rows)
    assert batch["text"].shape == (3, dataset.lengths[rows].max())
    assert batch["text_mask"].sum(dim=1).tolist() == dataset.lengths[rows].tolist()
    assert not batch["text"][batch["text_mask"] == 0].any()


def test_an_absent_text_is_one_padding_token(dataset):
    row = np.flatnonzero(dataset.lengths == 0)[:1]
    batch = dataset.batch(row)
    assert batch["text"].tolist() == [[0]]
    assert batch["text_mask"].tolist() == [[1.0]]
    assert batch["present"].tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_an_epoch_holds_every_row_once_and_follows_from_its_seed(dataset, batch_size):
    first = dataset.epoch(batch_size, seed=3, epoch=1)
    assert sorted(np.concatenate(first).tolist()) == list(range(40))
    again = dataset.epoch(batch_size, seed=3, epoch=1)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    other = np.concatenate(dataset.epoch(batch_size, seed=3, epoch=2))
    assert (np.concatenate(first) != other).any()


def test_kept_token_states_follow_their_rows(dataset):
    kept = dataset.with_features(
        "text", lambda batch: (batch["text"].unsqueeze(-1).float(), batch["text_mask"])
    )
    rows = np.array([5, 0, 17])
    batch, ids = kept.batch(rows), dataset.batch(rows)
    assert "text" not in batch
    torch.testing.assert_close(batch["text_features"].squeeze(-1).long(), ids["text"])
    torch.testing.assert_close(batch["text_features_mask"], ids["text_mask"])


def test_tokens_come_from_the_same_code_as_in_inference(first_impressions):
    corpus = import_corpus("first-impressions", first_impressions)
    heard = np.array([clip is not None for clip in corpus.clip])
    rows = corpus.select(heard & np.isfinite(corpus.descriptors).all(axis=1))
    path = text_weights_folder("minilm") / "tokenizer.json"
    spec = InputSpec(audio=DescriptorSpec(), text=TextSpec(tokenizer_sha256=tokenizer_sha256(path)))
    tokenizer = Tokenizer.from_file(str(path))
    published = prepare_row(rows, 0, spec, tokenizer)
    unknown = np.full_like(rows.descriptors, np.nan)
    heard_row = prepare_row(replace(rows, descriptors=unknown), 0, spec, tokenizer)
    assert published.audio is not None
    assert heard_row.audio is not None
    np.testing.assert_allclose(heard_row.audio, published.audio, rtol=2e-2, atol=2e-2)
    np.testing.assert_array_equal(heard_row.text, published.text)
