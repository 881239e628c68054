"""Finding pretrained weights and filling backbones with them, offline."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmperson.errors import ConfigError
from mmperson.models.pretrained import fill_backbone, load_backbone, weights_folder

FILES = ("config.json", "model.safetensors")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Caches of packages and of the hub, both empty."""
    monkeypatch.setenv("MMPERSON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def fill(folder: Path, files=FILES) -> Path:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).touch()
    return folder


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_local_folder_comes_before_the_cache(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packaged = fill(cache / "net")
    assert weights_folder("net", FILES) == packaged
    fill(tmp_path / "net")
    assert weights_folder("net", FILES).resolve() == tmp_path / "net"


def test_a_file_is_itself(tmp_path):
    file = tmp_path / "own.safetensors"
    file.touch()
    assert weights_folder(str(file), FILES) == file


def test_a_download_of_the_hub_is_found_offline(tmp_path):
    folder = tmp_path / "hub" / "models--owner--net"
    fill(folder / "snapshots" / "0123")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    assert weights_folder("owner/net", FILES) == folder / "snapshots" / "0123"


@pytest.mark.parametrize("name", ["net", "owner/net", "/nowhere/at/all"])
def test_what_is_not_there_says_what_is_wanted_and_what_was_tried(name, cache):
    with pytest.raises(ConfigError, match=r"config\.json, model\.safetensors") as raised:
        weights_folder(name, FILES)
    assert str(cache / name) in str(raised.value) or name.startswith("/")
    assert ("hub" in str(raised.value)) == (name == "owner/net")


def test_a_folder_that_lacks_a_file_says_which(cache):
    fill(cache / "net", ["config.json"])
    with pytest.raises(ConfigError, match=r"net' lacks model\.safetensors"):
        weights_folder("net", FILES)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_backbone_is_filled(tmp_path, as_folder):
    source, target = network(), network()
    save_file({**source.state_dict(), "fc.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    path = tmp_path if as_folder else tmp_path / "model.safetensors"
    load_backbone(target, path, heads=["fc"])
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]), name


def test_every_difference_is_reported(tmp_path):
    state = network().state_dict()
    state["0.weights"] = state.pop("0.weight")
    state["1.bias"] = torch.zeros(5)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError) as raised:
        load_backbone(network(), tmp_path)
    message = str(raised.value)
    assert "1 missing (0.weight)" in message
    assert "1 unexpected (0.weights)" in message
    assert "1 of another shape (1.bias (5,) instead of (4,))" in message


def test_a_head_that_nobody_expects_is_reported(tmp_path):
    save_file({**network().state_dict(), "fc.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r"1 unexpected \(fc\.weight\)"):
        load_backbone(network(), tmp_path / "a.safetensors")


def test_pickles_are_refused_unread(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(network().state_dict(), path)
    with pytest.raises(ConfigError, match=r"can run code.*fetch_weights\.py"):
        load_backbone(network(), path)


def test_a_damaged_file_is_reported(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_backbone(network(), tmp_path)


def test_a_frozen_backbone_must_not_stay_random():
    fill_backbone(network(), None, trainable=True)
    with pytest.raises(ConfigError, match="would stay random"):
        fill_backbone(network(), None, trainable=False)
