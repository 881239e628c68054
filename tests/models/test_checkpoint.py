import pytest
import torch

from mmperson.errors import BundleCorrupt, BundleNotFound
from mmperson.models.checkpoint import NETWORK_FILE, load_network, save_network
from mmperson.models.input_spec import input_spec


def test_a_saved_network_gives_the_same_scores(network, recipe, batch, tmp_path):
    save_network(tmp_path / NETWORK_FILE, network.state_dict(), recipe, input_spec(recipe))
    trained = load_network(tmp_path)
    assert torch.equal(trained.network(batch), network(batch))
    assert trained.recipe == recipe
    assert trained.spec == input_spec(recipe)


def test_a_folder_without_a_network_is_named(tmp_path):
    with pytest.raises(BundleNotFound, match=r"network\.safetensors"):
        load_network(tmp_path)


def test_a_cut_file_is_damaged(network, recipe, tmp_path):
    path = tmp_path / NETWORK_FILE
    save_network(path, network.state_dict(), recipe, input_spec(recipe))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleCorrupt, match="damaged"):
        load_network(tmp_path)


def test_weights_of_another_shape_are_damaged(network, recipe, tmp_path):
    weights = network.state_dict()
    weights["fusion.norm.weight"] = torch.zeros(3)
    save_network(tmp_path / NETWORK_FILE, weights, recipe, input_spec(recipe))
    with pytest.raises(BundleCorrupt, match="does not fit"):
        load_network(tmp_path)
