"""Split a transcript into utterances: the sentences of each speaker's turns."""

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
    has_words,
    tokenize,
)

SPEAKER: Final = "speaker"
"""Name (in any case) of the target speaker, who is otherwise the one with the most words."""

_NAMED: Final = re.compile(r"\s*([^\s:]+(?: [^\s:]+){0,2}):(?:\s+(.*))?$")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])\s+")


class Utterance(NamedTuple):
    """A sentence, and whether the target speaker, the person who is scored, says it."""

    is_target: bool
    text: str


class DialogueSpec(TextSpec):
    """Token ids of a dialogue, utterance by utterance.

    Attributes:
        marker: Token id, beyond the vocabulary, before an utterance of the target speaker; the next
            id precedes an utterance of anyone else.
    """

    reads_turns: ClassVar[bool] = True

    marker: int = Field(ge=1)

    def encode(self, text: str, tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
        """Encode a transcript; see ``TextSpec.encode``."""
        ids: list[int] = []
        # If only the names have letters, they are the text.
        for is_target, sentence in read_utterances(text) or [Utterance(True, text)]:
            if len(ids) + 1 >= self.max_tokens:
                break  # No room for a token after the marker.
            sentence = clean_text(sentence)[: CHARACTERS_PER_TOKEN * self.max_tokens]
            marker = self.marker if is_target else self.marker + 1
            ids += [marker, *tokenize(sentence, tokenizer).ids]
        return np.array(ids[: self.max_tokens], dtype=np.int64)


def read_utterances(text: str) -> list[Utterance]:
    r"""Split a transcript into utterances.

    A line ``Name: words`` starts a turn; a line without a name continues it. A single line with a
    name is not a dialogue: then one person says everything. Turns are split into sentences.

    Args:
        text: The transcript, with its line breaks.

    Returns:
        The utterances that contain a letter or a digit, in order.

    >>> read_utterances("Ann: Hello! How are you?\nBob: Fine.")[1:]
    [Utterance(is_target=True, text='How are you?'), Utterance(is_target=False, text='Fine.')]
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
    counts = Counter[str]()
    for name, parts in turns:
        counts[name] += sum(len(part.split()) for part in parts)
    target = SPEAKER if SPEAKER in counts else max(counts, key=lambda name: counts[name])
    return [
        Utterance(name == target, sentence)
        for name, parts in turns
        for sentence in _SENTENCE_END.split(" ".join(parts).strip())
        if has_words(sentence)
    ]
