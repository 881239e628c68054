import copy

import numpy as np
import pytest
import torch

from mmperson.datasets import read_manifest
from mmperson.datasets.dataset import ClipDataset
from mmperson.errors import ExportError, ParityExceeded
from mmperson.evaluation.scoring import score_bundle
from mmperson.exporting import export_run
from mmperson.exporting.parity import check_parity
from mmperson.inference.session import Session
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.training import score_run


@pytest.fixture(scope="module")
def sessions(trained, graphs):
    return {
        name: Session(graph.SerializeToString(), name, trained.spec.hash, threads=1)
        for name, graph in graphs.items()
    }


@pytest.fixture(scope="module")
def rows(trained, tiny_run, manifest_file):
    tokenizer = load_tokenizer(tiny_run / "tokenizer.json")
    manifest = read_manifest(manifest_file).where_split("validation")
    return ClipDataset.prepare(manifest, trained.spec, tokenizer)


def test_graphs_say_what_the_network_says(trained, sessions, rows):
    assert check_parity(trained.network, sessions, rows) <= 1e-4


def test_another_network_does_not_pass_the_gate(trained, sessions, rows):
    network = copy.deepcopy(trained.network)
    with torch.no_grad():
        network.heads.base += 0.001
    with pytest.raises(ParityExceeded, match=r"by 0\.001 "):
        check_parity(network, sessions, rows)


def test_a_bundle_scores_a_manifest_like_its_run(tiny_bundle, tiny_run, manifest_file):
    manifest = read_manifest(manifest_file)
    for modalities in (None, ("audio",), ("text",)):
        network = score_run(tiny_run, manifest, modalities)
        bundle = score_bundle(tiny_bundle, manifest, modalities)
        np.testing.assert_array_equal(np.isnan(network), np.isnan(bundle))
        np.testing.assert_allclose(bundle, network, atol=5e-3)


def test_a_folder_that_is_no_bundle_is_left_alone(tiny_run, manifest_file, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ExportError, match="not a bundle"):
        export_run(tiny_run, tmp_path, read_manifest(manifest_file))
    assert (tmp_path / "precious.txt").read_text() == "mine"
