import torch

from mmperson.config import parse_recipe
from mmperson.datasets import read_manifest
from mmperson.datasets.dataset import ClipDataset
from mmperson.models.input_spec import input_spec, tokenizer_file
from mmperson.models.network import PersonalityNetwork
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.training.encoding import encode_rows


def test_kept_states_of_one_layer_are_not_taken_for_another(recipe, manifest_file, tmp_path):
    content = recipe.model_dump(mode="json")
    said = {}
    for layer in (1, 2):
        frozen = {**content["text"], "trainable_layers": 0, "layers": [layer]}
        other = parse_recipe({**content, "text": frozen}, source="test")
        spec, tokenizer = input_spec(other), load_tokenizer(tokenizer_file(other.text))
        rows = ClipDataset.prepare(read_manifest(manifest_file), spec, tokenizer)
        network = PersonalityNetwork(other, spec)
        kept = encode_rows(network, rows, "text", tmp_path).features["text"]
        fresh = encode_rows(network, rows, "text", tmp_path / str(layer)).features["text"]
        torch.testing.assert_close(kept, fresh, rtol=0, atol=0)
        said[layer] = torch.cat(kept)
    assert not torch.allclose(said[1], said[2])
