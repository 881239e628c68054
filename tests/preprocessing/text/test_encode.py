import json
import pickle
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmperson.errors import BundleCorrupt, BundleError
from mmperson.preprocessing import TextSpec, load_tokenizer, tokenizer_sha256
from mmperson.preprocessing.spec import DialogueSpec
from mmperson.preprocessing.text import encode as module
from mmperson.preprocessing.text.encode import clean_text, has_words

SPEC = TextSpec(tokenizer_sha256="0" * 64)
SHORT = TextSpec(tokenizer_sha256="0" * 64, max_tokens=8)
PROMPTED = SPEC.model_copy(update={"prompts": ("say it", "tell me more about")})
DIALOGUE = DialogueSpec(tokenizer_sha256="0" * 64, marker=40_000)


@pytest.fixture(scope="module")
def transcripts(first_impressions: Path) -> list[str]:
    path = first_impressions / "transcription/transcription_validation.pkl"
    return list(pickle.loads(path.read_bytes(), encoding="latin1").values())


def test_real_transcripts_agree_with_transformers(transcripts, tokenizer, tokenizer_file):
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    reference = transformers.AutoTokenizer.from_pretrained(tokenizer_file.parent)
    for text in transcripts[:300]:
        expected = reference(text, truncation=True, max_length=48)["input_ids"]
        spec = SPEC.model_copy(update={"max_tokens": 48})
        assert spec.encode(text, tokenizer).tolist() == expected


def test_cleaning_leaves_real_transcripts_alone(transcripts, tokenizer):
    for text in transcripts:
        assert SPEC.encode(text, tokenizer).tolist() == tokenizer.encode(text).ids


def test_ids_are_int64_between_the_special_tokens(tokenizer):
    ids = SPEC.encode("Hello there", tokenizer)
    assert ids.dtype == np.int64
    assert tokenizer.decode(ids.tolist(), skip_special_tokens=False) == "[CLS] hello there [SEP]"


def test_what_is_too_long_loses_its_last_words(tokenizer):
    ids = SHORT.encode("one two three four five six seven eight", tokenizer)
    assert tokenizer.decode(ids.tolist(), skip_special_tokens=False) == (
        "[CLS] one two three four five six [SEP]"
    )


LONG = (
    "one two three four five six seven eight " * 100,
    "a" * 5000 + " word" * 500,
    "antidisestablishmentarianism" * 200 + " end",
    "\x01" * 3000 + "word " * 50,
    "…!?" * 400,
    "一個很長的句子" * 200,
    "q" * 99 + "." + "zx" * 300 + " é" * 300,
    "x " * 127 + "supercalifragilisticexpialidocious" * 3,
)


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
@pytest.mark.parametrize("first", [1, 8, 32])
def test_of_a_long_text_the_start_decides(tokenizer, monkeypatch, text, first):
    monkeypatch.setattr(module, "CHARACTERS_PER_TOKEN", first)
    ids = tokenizer.encode(clean_text(text)).ids
    expected = ids if len(ids) <= 8 else [*ids[:7], ids[-1]]
    assert SHORT.encode(text, tokenizer).tolist() == expected


def test_what_is_far_too_long_is_not_tokenized(tokenizer):
    read = []

    class Counted:
        def encode(self, text):
            read.append(len(text))
            return tokenizer.encode(text)

    SPEC.encode("one two three " * 100_000, Counted())
    assert sum(read) <= 32 * SPEC.max_tokens


def test_the_content_of_a_file_gives_the_same_tokenizer(tokenizer, tokenizer_file):
    again = load_tokenizer(tokenizer_file.read_bytes())
    assert again.encode("so [SEP] and 7").ids == tokenizer.encode("so [SEP] and 7").ids
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        load_tokenizer(b"{}")


def changed(tokenizer_file, **changes):
    stored = json.loads(tokenizer_file.read_text(encoding="utf-8"))
    stored["model"].update(changes.pop("model", {}))
    return load_tokenizer(json.dumps(stored | changes).encode())


@pytest.mark.parametrize("spec", [SPEC, PROMPTED, DIALOGUE], ids=["plain", "prompts", "dialogue"])
def test_a_tokenizer_that_fails_is_corrupt(tokenizer_file, spec):
    broken = changed(tokenizer_file, model={"unk_token": "[NOPE]"})
    assert len(spec.encode("Hello there.", broken))
    with pytest.raises(BundleCorrupt, match=r"cannot encode .*☃.*\[UNK\]"):
        spec.encode("Hello ☃.", broken)


@pytest.mark.parametrize("text", ["\u200b", "some words that are too many to fit in here"])
def test_a_tokenizer_of_special_tokens_alone_is_corrupt(tokenizer_file, text):
    rule = json.loads(tokenizer_file.read_text(encoding="utf-8"))["post_processor"]
    assert rule["type"] == "TemplateProcessing"
    start = rule["single"][0]
    broken = changed(tokenizer_file, post_processor=rule | {"single": [start] * 9})
    with pytest.raises(BundleCorrupt, match="adds 9 special tokens to a text; 8 tokens"):
        SHORT.encode(text, broken)


def test_a_spelt_out_special_token_is_text(tokenizer):
    ids = SPEC.encode("so [SEP] and [PAD]", tokenizer).tolist()
    assert ids.count(tokenizer.token_to_id("[SEP]")) == 1
    assert tokenizer.token_to_id("[PAD]") not in ids


def test_padding_and_truncation_of_the_file_are_off(tokenizer_file, tokenizer):
    stored = json.loads(tokenizer_file.read_text())
    assert stored["padding"]
    assert stored["truncation"]
    assert len(tokenizer.encode("word " * 500).ids) == 502
    assert len(tokenizer.encode("word").ids) == 3


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  two\n\n words\t", "two words"),
        ("Cafe\u0301", "Café"),
        ("no\u00a0break", "no break"),
        ("lone \ud83d half", "lone ? half"),
        ("", ""),
    ],
)
def test_cleaning(text, cleaned):
    assert clean_text(text) == cleaned


MARKS = "".join(map(chr, range(0x300, 0x370)))
HIDDEN = [
    mark
    for mark in map(chr, range(0x110000))
    if not unicodedata.combining(mark)
    and unicodedata.combining(unicodedata.normalize("NFD", mark)[:1] or "a")
]


@given(text=st.text(max_size=60) | st.text(st.sampled_from([*"ae \u1100\u1161", *MARKS, *HIDDEN])))
def test_up_to_thirty_marks_on_a_letter_are_composed_as_ever(text):
    plain = " ".join(unicodedata.normalize("NFC", text.translate(module._HIDDEN_MARKS)).split())
    assert plain == " ".join(unicodedata.normalize("NFC", text).split())
    if "\u034f" not in clean_text(text):
        assert clean_text(text) == plain
    else:
        assert "\u034f" in text or len(text) > 15


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0344", *HIDDEN])
def test_a_letter_with_many_marks_takes_linear_time(marks):
    letter = "a" + marks * 10
    assert clean_text(letter) == unicodedata.normalize("NFC", letter)
    begun = time.process_time()
    clean_text("a" + marks * 100_000)  # a minute, if its square counted
    assert time.process_time() - begun < 3.0


@pytest.mark.parametrize(
    ("text", "expected"), [("a", True), ("7", True), ("é", True), (" \n", False), ("… -?!", False)]
)
def test_words(text, expected):
    assert has_words(text) is expected


@given(text=st.text(max_size=200) | st.text(st.characters(categories=["Cs", "Cc", "Lu"])))
def test_any_string_can_be_encoded(tokenizer, text):
    ids = SHORT.encode(text, tokenizer)
    assert 2 <= len(ids) <= SHORT.max_tokens
    assert ids[0] == tokenizer.token_to_id("[CLS]")
    assert ids[-1] == tokenizer.token_to_id("[SEP]")


def test_hash_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"abc")
    assert tokenizer_sha256(path).startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        load_tokenizer(path)
    if content is None:
        with pytest.raises(BundleError):
            tokenizer_sha256(path)


def test_prompts_precede_the_transcript_and_short_rows_are_padded(tokenizer):
    ids = PROMPTED.encode(" the  river ", tokenizer)
    assert ids.dtype == np.int64
    assert ids.shape == (2, 8)
    for row, text in zip(ids, ("say it the river", "tell me more about the river"), strict=True):
        assert row[row >= 0].tolist() == tokenizer.encode(text).ids
    assert ids[0].tolist()[-2:] == [-1, -1]


def test_a_prompted_transcript_that_is_too_long_loses_its_last_words(tokenizer):
    spec = PROMPTED.model_copy(update={"max_tokens": 8})
    ids = spec.encode("one two three four five six", tokenizer)
    assert [tokenizer.decode(row.tolist(), skip_special_tokens=False) for row in ids] == [
        "[CLS] say it one two three four [SEP]",
        "[CLS] tell me more about one two [SEP]",
    ]
