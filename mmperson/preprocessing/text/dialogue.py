"""A transcript to utterances: who speaks, and the sentences of each turn."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, NamedTuple

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
