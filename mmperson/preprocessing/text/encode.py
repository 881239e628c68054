"""Encode transcripts as token ids."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from tokenizers import Encoding, Tokenizer

from mmperson.errors import BundleCorrupt, BundleError, UsageError
from mmperson.preprocessing.modality import ModalitySpec, Prepared

if TYPE_CHECKING:
    from mmperson.media import Clip

# Long texts are first cut to this many characters per token; real text has about five.
CHARACTERS_PER_TOKEN: Final = 32

_JOINER: Final = "\u034f"
# Combining classes of 30 marks that another mark follows.
_LONG_RUN: Final = re.compile(rb"[^\0]{30}(?=[^\0])")
# The only characters of class 0 that decompose into marks; NFC never composes them.
_HIDDEN_MARKS: Final = {0x0F73: "\u0f71\u0f72", 0x0F75: "\u0f71\u0f74", 0x0F81: "\u0f71\u0f80"}


class TextSpec(ModalitySpec):
    """Token ids of a transcript.

    Attributes:
        reads_turns: Whether the transcript must keep the speakers' names.
        tokenizer_sha256: Hash of the ``tokenizer.json``.
        max_tokens: Maximum length, special tokens included; longer text is truncated.
        prompts: Instructions, each encoded before the transcript as a sequence of its own. Empty
            encodes only the transcript.
    """

    source: ClassVar[Literal["clip", "manifest", "transcript"]] = "transcript"
    dtype: ClassVar[str] = "int64"
    description: ClassVar[str] = "transcript"
    reads_turns: ClassVar[bool] = False

    tokenizer_sha256: str
    max_tokens: int = Field(128, ge=8, le=8192)
    prompts: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(token,), or with prompts (prompt, token)."""
        return (len(self.prompts), self.max_tokens) if self.prompts else (self.max_tokens,)

    @property
    def graph_shape(self) -> tuple[int | None, ...]:
        """The same, with any number of tokens."""
        return (*self.shape[:-1], None)

    @property
    def mask_axes(self) -> int:
        """All axes."""
        return len(self.shape)

    def batch_shape(self, arrays: Sequence[npt.NDArray[Any] | None]) -> tuple[int, ...]:
        """Return the shape of the longest text."""
        longest = max((array.shape[-1] for array in arrays if array is not None), default=1)
        return (*self.shape[:-1], longest)

    def prepare(
        self, clip: Clip | None, transcript: str | None, tokenizer: Tokenizer | None
    ) -> Prepared:
        """Encode the transcript, unless it has no words.

        Raises:
            UsageError: ``tokenizer`` is None.
        """
        if transcript is None:
            return Prepared(None, "There is no transcript.")
        if not has_words(transcript):
            warning = "The transcript has no words and is not used."
            return Prepared(None, "The transcript has no words.", (warning,))
        if tokenizer is None:
            raise UsageError(
                "The spec reads text, but there is no tokenizer.",
                hint="Load one with load_tokenizer(path).",
            )
        return Prepared(self.encode(transcript, tokenizer))

    def encode(self, text: str, tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
        """Encode a transcript; truncate its end if it is too long.

        Args:
            text: The transcript.
            tokenizer: From ``load_tokenizer``.

        Returns:
            int64 (token,), at most ``max_tokens``, special tokens included; with prompts (prompt,
            token), shorter rows padded with -1. In a dialogue, each utterance has special tokens
            of its own and a marker before them.

        Raises:
            BundleCorrupt: The tokenizer fails on the text, or adds more than ``max_tokens`` special
                tokens.
        """
        text = clean_text(text)
        if not self.prompts:
            return _encode(text, tokenizer, self.max_tokens)
        rows = [_encode(f"{prompt} {text}", tokenizer, self.max_tokens) for prompt in self.prompts]
        longest = max(map(len, rows))
        return np.stack([np.pad(row, (0, longest - len(row)), constant_values=-1) for row in rows])


def load_tokenizer(source: str | Path | bytes) -> Tokenizer:
    """Load a ``tokenizer.json``, without its truncation and padding.

    ``TextSpec.encode`` truncates and ``collate`` pads. A transcript that contains the name of a
    special token, such as ``[PAD]``, is plain text.

    Args:
        source: The file, or its content.

    Raises:
        BundleError: It is missing, or is not a tokenizer.
    """
    try:
        if isinstance(source, bytes):
            tokenizer = Tokenizer.from_buffer(source)
        else:
            tokenizer = Tokenizer.from_file(str(source))
    except Exception as error:  # the library raises nothing more specific
        name = "tokenizer.json" if isinstance(source, bytes) else str(source)
        raise BundleError(f"The tokenizer {name!r} cannot be read: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizer_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a ``tokenizer.json``, 64 hex digits, for ``TextSpec``.

    Raises:
        BundleError: The file cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BundleError(f"The tokenizer {str(path)!r} cannot be read: {error}.") from error
    return hashlib.sha256(content).hexdigest()


def clean_text(text: str) -> str:
    r"""Normalise to NFC and collapse white space.

    Lone surrogates, which no tokenizer accepts, become ``?``. Case, accents and punctuation are
    left to the tokenizer. In runs of more than 30 combining marks, which no language has, an
    invisible joiner follows each 30.

    Source: Unicode Standard Annex 15, section 13, Stream-Safe Text Format.

    >>> clean_text("  Cafe\u0301\n\tau lait ")
    'Café au lait'
    """
    # Command lines and lenient decoders produce surrogates.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(unicodedata.normalize("NFC", _stream_safe(text)).split())


def _stream_safe(text: str) -> str:
    """Split long runs of combining marks: Python sorts each in quadratic time."""
    if text.isascii():
        return text
    text = text.translate(_HIDDEN_MARKS)
    classes = bytes(map(unicodedata.combining, text))
    cuts = [0, *(run.end() for run in _LONG_RUN.finditer(classes)), len(text)]
    return _JOINER.join(text[start:end] for start, end in itertools.pairwise(cuts))


def has_words(text: str) -> bool:
    """Return whether a text contains a letter or a digit."""
    return any(map(str.isalnum, text))


def _encode(text: str, tokenizer: Tokenizer, max_tokens: int) -> npt.NDArray[np.int64]:
    encoding = _tokenize(text, tokenizer, max_tokens)
    ids = np.array(encoding.ids, dtype=np.int64)
    excess = len(ids) - max_tokens
    if excess <= 0:
        return ids
    # The words are contiguous, between special tokens: [CLS] … [SEP].
    words = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    if excess > len(words):
        raise BundleCorrupt(
            f"The tokenizer adds {len(ids) - len(words)} special tokens to a text; {max_tokens} "
            "tokens are the maximum."
        )
    last_word = int(words[-1])
    return np.delete(ids, np.s_[last_word + 1 - excess : last_word + 1])


def _tokenize(text: str, tokenizer: Tokenizer, max_tokens: int) -> Encoding:
    """Encode a text, or as much of its start as determines the first ``max_tokens`` tokens."""
    # A cut only changes the word that it splits, which must come after those tokens.
    size = CHARACTERS_PER_TOKEN * max_tokens
    while size < len(text):
        encoding = tokenize(text[:size], tokenizer)
        words = [word for word in encoding.word_ids if word is not None]
        if len(words) >= max_tokens and words[max_tokens - 1] != words[-1]:
            return encoding
        size *= 4
    return tokenize(text, tokenizer)


def tokenize(text: str, tokenizer: Tokenizer) -> Encoding:
    """Encode a text without cleaning or truncation.

    Raises:
        BundleCorrupt: The tokenizer fails on the text.
    """
    try:
        return tokenizer.encode(text)
    except Exception as error:  # the library raises nothing more specific
        raise BundleCorrupt(
            f"The tokenizer cannot encode {text[:60]!r}: {error}.",
            hint="Export the bundle again with the tokenizer of the training.",
        ) from error
