import pytest
import torch

from mmperson.config import DialogueConfig
from mmperson.models.encoders.dialogue import DialogueEncoder
from mmperson.preprocessing import DialogueSpec, InputSpec, collate, load_tokenizer
from mmperson.preprocessing.clip import ClipInputs

SPEC = DialogueSpec(tokenizer_sha256="", marker=30_522)
TALK = "Speaker: I like the river. I plan.\nBob: You plan a lot.\nSpeaker: Maybe."


@pytest.fixture(scope="module", params=["tiny_text_weights", "tiny_language_model"])
def network(request):
    torch.manual_seed(0)
    weights = request.getfixturevalue(request.param)
    config = DialogueConfig(weights=str(weights), layers=(0, 2))
    return DialogueEncoder(config, SPEC).eval(), load_tokenizer(weights / "tokenizer.json")


def batch(tokenizer, *texts):
    clips = [ClipInputs(text=SPEC.encode(text, tokenizer)) for text in texts]
    arrays = collate(clips, InputSpec(text=SPEC))
    return torch.from_numpy(arrays["text"]), torch.from_numpy(arrays["text_mask"])


def test_the_speakers_utterances_leave_the_encoder(network):
    encoder, tokenizer = network
    features = encoder.features(*batch(tokenizer, TALK))
    assert features.mask[0].sum() == 4
    assert features.values[0, :4, -1].tolist() == [0, 0, 1, 0]
    values, mask = encoder.adapt(features)
    assert mask[0, :5].tolist() == [1, 1, 0, 1, 0]
    assert values.shape[-1] == encoder.dim


def test_an_utterance_is_the_mean_of_its_own_states(network):
    encoder, tokenizer = network
    found = encoder.features(*batch(tokenizer, TALK)).values[0, 1, :-1]
    ids = torch.tensor([tokenizer.encode("I plan.").ids])
    states = encoder.states(ids, torch.ones(ids.shape))
    states = states[0, 1:] if encoder.causal else states[0]
    torch.testing.assert_close(found, (states.mean(dim=0) - encoder.mean) @ encoder.basis)


def test_what_others_say_counts_as_context_only(network):
    encoder, tokenizer = network
    other = TALK.replace("You plan a lot.", "Bright stones laugh in the garden, do they?")
    before, after = (encoder.features(*batch(tokenizer, text)) for text in (TALK, other))
    own = [0, 1, 3]
    torch.testing.assert_close(before.values[0, own], after.values[0, own])
    said, changed = (encoder.adapt(part).values[0, own] for part in (before, after))
    assert (said - changed).abs().max() > 1e-4
    dim = encoder.dim
    with torch.no_grad():
        kept = encoder.mix.weight[:, dim:].clone()
        encoder.mix.weight[:, dim:] = 0.0
        said, changed = (encoder.adapt(part).values[0, own] for part in (before, after))
        encoder.mix.weight[:, dim:] = kept
    torch.testing.assert_close(said, changed)


def test_ones_own_utterances_attend_to_each_other(network):
    encoder, tokenizer = network
    x, mask = batch(tokenizer, "I like it. I plan.", "I like it. You laugh.")
    values, _ = encoder(x, mask)
    assert (values[0, 0] - values[1, 0]).abs().max() > 1e-5


def test_padding_changes_nothing(network):
    encoder, tokenizer = network
    alone, real = encoder(*batch(tokenizer, TALK))
    longer = f"{TALK} And so on, and on, and on; it goes on. For ever."
    padded, mask = encoder(*batch(tokenizer, TALK, longer))
    kept = int(real.shape[1])
    assert torch.equal(mask[0, :kept], real[0])
    assert not mask[0, kept:].any()
    torch.testing.assert_close(padded[0, :kept] * real[0, :, None], alone[0] * real[0, :, None])


def test_a_dialogue_cut_before_the_speaker_and_an_absent_one_are_read(network):
    encoder, tokenizer = network
    ids = torch.tensor([[SPEC.marker + 1, *tokenizer.encode("You plan.").ids]])
    values, mask = encoder(ids, torch.ones(ids.shape))
    assert mask.sum() == 1
    assert values.isfinite().all()
    values, mask = encoder(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1))
    assert mask.tolist() == [[1]]
    assert values.isfinite().all()
