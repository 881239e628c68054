"""A transcript to utterances: who speaks, and the sentences of each turn."""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from tokenizers import Tokenizer

from mmperson.preprocessing.text.encode import (
    CHARACTERS_PER_TOKEN,
    TextSpec,
    clean_text,
    tokenize,
)

SPEAKER: Final = "speaker"
"""Name, in any case, of the person who is judged; without it that is who says the most words."""

_NAMED: Final = re.compile(r"\s*([^\s:]+(?: [^\s:]+){0,2}):(?:\s+(.*))?$")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])\s+")


class Utterance(NamedTuple):
    """A sentence and who says it.

    Attributes:
        own: Whether the person who is judged says it.
        words: What is said.
    """

    own: bool
    words: str


class DialogueSpec(TextSpec):
    """How a transcript becomes the token ids of utterances, one behind the other.

    Attributes:
        marker: Id that begins an utterance of the person who is judged, beyond the vocabulary; the
            next id begins an utterance of somebody else.
    """

    reads_turns: ClassVar[bool] = True

    marker: int = Field(ge=1)

    def encode(self, text: str, tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
        """Encode a transcript by utterances, each with special tokens and a marker before them."""
        ids: list[int] = []
        # Where names are all that has letters, they are the words.
        for own, words in read_utterances(text) or [Utterance(True, text)]:
            if len(ids) + 1 >= self.max_tokens:
                break  # A marker alone says nothing.
            words = clean_text(words)[: CHARACTERS_PER_TOKEN * self.max_tokens]
            ids += [self.marker if own else self.marker + 1, *tokenize(words, tokenizer).ids]
        return np.array(ids[: self.max_tokens], dtype=np.int64)


def read_utterances(text: str) -> list[Utterance]:
    r"""Part a transcript into utterances.

    A line ``Name: words`` begins a turn; a line without a name goes on with the turn. One such line
    alone makes no dialogue: then all is said by one person. Turns fall into sentences.

    Args:
        text: The transcript, with its line breaks.

    Returns:
        The utterances with a letter or a digit, in order; none if there is none.

    >>> read_utterances("Ann: Hello! How are you today?\nBob: Fine.")[1:]
    [Utterance(own=True, words='How are you today?'), Utterance(own=False, words='Fine.')]
    """
    lines = text.splitlines()
    matches = [_NAMED.match(line) for line in lines]
    named = sum(match is not None for match in matches) > 1
    turns: list[tuple[str, list[str]]] = [("", [])]
    for line, match in zip(lines, matches, strict=True):
        if named and match:
            turns.append((match[1].lower(), [match[2] or ""]))
        else:
            turns[-1][1].append(line)
    said = Counter[str]()
    for name, parts in turns:
        said[name] += sum(len(part.split()) for part in parts)
    own = SPEAKER if SPEAKER in said else max(said, key=lambda name: said[name])
    return [
        Utterance(name == own, sentence)
        for name, parts in turns
        for sentence in _SENTENCE_END.split(" ".join(parts).strip())
        if any(map(str.isalnum, sentence))
    ]
