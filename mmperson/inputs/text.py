"""Transcripts to token ids."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from mmperson.errors import BundleError
from mmperson.inputs.spec import TextSpec


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a ``tokenizer.json`` and switch off the truncation and padding that it may ask for.

    ``encode_text`` truncates by the spec, and batches are padded where they are made. A transcript
    that spells out a special token, such as ``[PAD]``, is plain text.

    Args:
        path: The file.

    Raises:
        BundleError: It is missing, or is no tokenizer.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise BundleError(f"The tokenizer {str(path)!r} cannot be read: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizer_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a ``tokenizer.json``, as 64 hex digits, for ``TextSpec``.

    Args:
        path: The file.

    Raises:
        BundleError: It cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BundleError(f"The tokenizer {str(path)!r} cannot be read: {error}.") from error
    return hashlib.sha256(content).hexdigest()


def clean_text(text: str) -> str:
    r"""Compose characters, and make one space of every run of white space.

    Lone surrogates, which no tokenizer takes, become ``?``. Nothing else is changed: case, accents
    and punctuation are the tokenizer's affair.

    Args:
        text: Any string.

    Returns:
        The text in Unicode's form NFC, without white space at its ends.

    >>> clean_text("  Cafe\u0301\n\tau lait ")
    'Café au lait'
    """
    # Command lines and careless decoders leave surrogates behind.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(unicodedata.normalize("NFC", text).split())


def has_words(text: str) -> bool:
    """Return whether there is a letter or a digit in a text."""
    return any(map(str.isalnum, text))


def encode_text(text: str, tokenizer: Tokenizer, spec: TextSpec) -> npt.NDArray[np.int64]:
    """Encode a transcript with its special tokens; what is too long loses its last words.

    Args:
        text: The transcript.
        tokenizer: From ``load_tokenizer``.
        spec: The greatest length.

    Returns:
        int64 (token,), at most ``spec.max_tokens``, special tokens included.
    """
    encoding = tokenizer.encode(clean_text(text))
    ids = np.array(encoding.ids, dtype=np.int64)
    excess = len(ids) - spec.max_tokens
    if excess <= 0:
        return ids
    # The words are one stretch between special tokens, [CLS] … [SEP]: cut at its end.
    last_word = int(np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)[-1])
    return np.delete(ids, np.s_[last_word + 1 - excess : last_word + 1])
