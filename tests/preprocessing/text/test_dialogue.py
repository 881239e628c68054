import numpy as np
import pytest

from mmperson.preprocessing import DialogueSpec, InputSpec, TextSpec
from mmperson.preprocessing.text.dialogue import read_utterances

SPEC = DialogueSpec(tokenizer_sha256="", marker=40_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I sing. Do you?  Well!", [(True, "I sing."), (True, "Do you?"), (True, "Well!")]),
        ("Ann: Hi there, all.\nBob: Hi.", [(True, "Hi there, all."), (False, "Hi.")]),
        ("Ann: Hi there, all.\nSpeaker: Hi.", [(False, "Hi there, all."), (True, "Hi.")]),
        ("Ann: One two\nthree four. Five.\nBob: Six.",
         [(True, "One two three four."), (True, "Five."), (False, "Six.")]),
        ("My rule: no more.", [(True, "My rule: no more.")]),
        ("At 10:30 we met\nand went on.", [(True, "At 10:30 we met and went on.")]),
        ("Ann: ...\nBob:", []),
        ("", []),
    ],
)  # fmt: skip
def test_a_transcript_falls_into_utterances(text, expected):
    assert read_utterances(text) == expected


def test_every_utterance_has_its_marker_and_special_tokens(tokenizer):
    ids = SPEC.encode("Ann: Hello there, all.\nBob: Hello.", tokenizer)
    assert ids.dtype == np.int64
    own, other = (tokenizer.encode(words).ids for words in ("Hello there, all.", "Hello."))
    assert ids.tolist() == [40_000, *own, 40_001, *other]


def test_a_long_dialogue_is_cut_and_never_ends_with_a_marker(tokenizer):
    for length in range(8, 20):
        ids = SPEC.model_copy(update={"max_tokens": length}).encode("Yes. No. " * 20, tokenizer)
        assert len(ids) <= length
        assert ids[-1] < SPEC.marker


def test_names_alone_are_words(tokenizer):
    assert len(SPEC.encode("Ann:\nBob:", tokenizer)) > 2


def test_a_spec_comes_back_from_json_as_what_it_was():
    for part in (SPEC, TextSpec(tokenizer_sha256="")):
        spec = InputSpec(text=part)
        again = InputSpec.model_validate_json(spec.model_dump_json())
        assert again == spec
        assert type(again.text) is type(part)
        assert again.hash == spec.hash
