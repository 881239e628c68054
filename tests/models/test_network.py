import pytest
import torch

from mmperson.config import parse_recipe
from mmperson.models.input_spec import input_spec
from mmperson.models.network import PersonalityNetwork

SUBSETS = [(0.0, 1.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)]


def test_scores_have_one_row_per_clip_and_one_column_per_trait(network, batch):
    assert network(batch).shape == (3, 5)


@pytest.mark.parametrize("present", SUBSETS[1:])
def test_what_is_absent_cannot_change_a_score(network, batch, present):
    batch["present"] = torch.tensor([present] * 3)
    before = network(batch)
    if not present[1]:
        batch["audio"] = torch.full_like(batch["audio"], 1e4)
    if not present[2]:
        batch["text"] = torch.full_like(batch["text"], 2023)
        batch["text_mask"] = torch.ones_like(batch["text_mask"])
    torch.testing.assert_close(network(batch), before)


@pytest.mark.parametrize("modality", [1, 2])
def test_what_is_present_changes_the_scores(network, batch, modality):
    before = network(batch)
    batch["present"][:, modality] = 0.0
    assert (network(batch) - before).abs().max() > 1e-5


@pytest.mark.parametrize("present", SUBSETS)
def test_padding_and_neighbours_do_not_change_a_score(network, batch, present):
    batch["present"] = torch.tensor([present] * 3)
    alone = {name: tensor[1:2] for name, tensor in batch.items()}
    alone["text"] = alone["text"][:, :4]
    alone["text_mask"] = alone["text_mask"][:, :4]
    torch.testing.assert_close(network(alone)[0], network(batch)[1], atol=1e-6, rtol=0)


def test_every_trainable_parameter_learns(network, batch):
    # One clip lacks audio and one lacks text, so that the absent tokens are used as well.
    batch["present"] = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    memory = network.encoders["audio"].memory
    memory.offset.fill_(1.0)
    memory.weights.fill_(1.0)
    network(batch).square().sum().backward()
    still = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    # A constant added to every key shifts all scores alike, so softmax passes it no gradient.
    assert [name for name in still if not name.endswith("key.bias")] == []


@pytest.mark.parametrize("kept", ["text", "audio"])
def test_a_network_may_read_one_modality(recipe, batch, kept):
    content = recipe.model_dump(mode="json") | {"text" if kept == "audio" else "audio": None}
    single = parse_recipe(content, source="test")
    network = PersonalityNetwork(single, input_spec(single)).eval()
    assert network(batch).isfinite().all()


def test_kept_token_states_stand_in_for_the_encoder(network, batch):
    states = [tensor.clone() for tensor in network.features("text", batch)]
    kept = {name: batch[name] for name in ("audio", "audio_mask", "present")}
    kept |= {"text_features": states[0], "text_features_mask": states[1]}
    torch.testing.assert_close(network(kept), network(batch))
