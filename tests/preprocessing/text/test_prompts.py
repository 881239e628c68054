import re

import pytest

from mmperson.preprocessing import TextSpec
from mmperson.preprocessing.text.prompts import PSYCHOLOGY
from mmperson.traits import TRAITS

DEMOGRAPHICS = re.findall(
    r"\w+",
    "age aged young old gender sex man woman men women male female he she his her race racial "
    "ethnic ethnicity white black asian latino nationality native accent religion religious "
    "married class income",
)


def test_there_is_a_prompt_per_trait_in_their_order():
    assert len(PSYCHOLOGY) == len(TRAITS)
    for prompt, trait in zip(PSYCHOLOGY, TRAITS, strict=True):
        assert trait.replace("_", " ") in prompt
        others = [other for other in TRAITS if other != trait]
        assert not any(other.replace("_", " ") in prompt for other in others)


@pytest.mark.parametrize("prompt", PSYCHOLOGY, ids=TRAITS)
def test_no_prompt_names_demographics(prompt):
    assert not set(re.findall(r"[a-z]+", prompt.lower())) & set(DEMOGRAPHICS)


def test_prompts_leave_most_of_the_tokens_to_the_transcript(tokenizer):
    longest = max(len(tokenizer.encode(prompt).ids) for prompt in PSYCHOLOGY)
    assert longest <= TextSpec(tokenizer_sha256="").max_tokens // 3


def test_a_prompt_has_the_same_tokens_whatever_follows(tokenizer):
    spec = TextSpec(tokenizer_sha256="", prompts=PSYCHOLOGY)
    for text in ("I plan ahead.", "'s what he said", "- no"):
        for prompt, row in zip(PSYCHOLOGY, spec.encode(text, tokenizer), strict=True):
            alone = tokenizer.encode(prompt).ids[:-1]  # Without the token that ends a sequence.
            assert row[: len(alone)].tolist() == alone
