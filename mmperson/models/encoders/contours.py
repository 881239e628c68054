"""Contours of psycholinguistic features along a transcript, joined to its token states."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmperson.config import ContoursConfig
from mmperson.models.encoders.text import TextEncoder, text_weights_folder
from mmperson.models.layers.recurrent import run_lstm
from mmperson.models.tokens import MASKED, Tokens, average_tokens
from mmperson.preprocessing.spec import TextSpec
from mmperson.preprocessing.text.encode import load_tokenizer

CATEGORIES = {
    "first person singular": "i me my mine myself im",
    "first person plural": "we us our ours ourselves",
    "second person": "you your yours yourself",
    "third person": "he she they him her them his hers their theirs it its",
    "article": "a an the",
    "preposition": "of in on at by for with about from to into over under between through",
    "conjunction": "and but or so because although while if when unless than as",
    "auxiliary": "am is are was were be been do does did have has had will would can could should "
    "may might must",
    "negation": "no not never nothing none nobody nor neither cannot don doesn didn isn wasn aren "
    "weren couldn wouldn shouldn haven hasn hadn",
    "positive emotion": "love happy good great nice fun glad joy laugh smile enjoy beautiful "
    "wonderful amazing awesome best excited hope thank thanks like",
    "negative emotion": "hate sad bad angry fear afraid worry cry hurt awful terrible worst alone "
    "sorry wrong sick tired annoying stupid problem",
    "cognition": "think know believe understand reason why because maybe mean idea consider wonder "
    "remember decide realize guess feel",
    "social": "friend friends family people mom dad mother father talk meet together guys everyone "
    "girl boy kids party",
    "certainty": "always never definitely certainly sure absolutely completely every must really",
    "tentative": "maybe perhaps probably kind sort somewhat guess seem might could possibly",
    "filler": "um uh er ah like well okay ok yeah basically actually literally",
    "work": "work job school class study college business money plan project goal",
    "leisure": "music movie game video play book song dance travel art food",
}
"""Words by category. Tokenizers split "don't" after "don", so "don" is listed."""

_VOWELS = re.compile(r"[aeiouy]+")
_UNUSED = re.compile(r"\[.+\]|<.+>")  # Tokens such as [unused1], which no text has.
_WORD_STARTS = ("Ġ", "▁")  # Of byte-level and sentence-piece tokenizers.
_SURFACE = 3  # Length, syllables and punctuation come before the categories.


class ContourEncoder(TextEncoder):
    """Token states with a bidirectional LSTM over windows of psycholinguistic features.

    Every token has fixed features: its length, its syllables, whether it is punctuation, and its
    categories of function, emotion, cognition and topic words. Their means over sliding windows of
    the transcript are the contours. Every token attends to the LSTM's states over them; the result
    is joined to its own state.

    Source: after Kerz et al. 2022, Pushing on Personality Detection from Verbal Behavior (WASSA);
    windows and word lists are our own.

    Raises:
        ConfigError: As ``TextEncoder``.
    """

    table: Tensor

    def __init__(self, config: ContoursConfig, spec: TextSpec, *, pretrained: bool = True) -> None:
        super().__init__(config, spec, pretrained=pretrained)
        self.window, self.step = config.window, config.step
        self.states_dim, width = self.dim, _SURFACE + len(CATEGORIES)
        vocabulary = int(self.backbone.config.vocab_size)
        self.register_buffer("table", torch.zeros(vocabulary, width))
        if pretrained:
            self.table.copy_(_make_table(config, vocabulary))
        half = config.contour_dim // 2
        self.onward = nn.LSTM(width, half, batch_first=True)
        self.backward = nn.LSTM(width, half, batch_first=True)
        self.query = nn.Linear(self.states_dim, config.contour_dim)
        self.out = nn.Linear(self.states_dim + config.contour_dim, self.dim)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode token ids and look up the psycholinguistic features of every token.

        Args:
            x: int64 (batch, token).
            mask: float (batch, token), 1 for real tokens.

        Returns:
            Token states and psycholinguistic features, concatenated, float (batch, token, dim).
        """
        states = (self.states(x, mask) - self.mean) @ self.basis
        tokens = Tokens(torch.cat([states, self.table[x]], dim=-1), mask)
        return average_tokens(self.without_sink(tokens), self.stride)

    def adapt(self, features: Tokens) -> Tokens:
        """Run the LSTM over the contours and let every token attend to it."""
        states, words = features.values.split(
            [self.states_dim, features.values.shape[-1] - self.states_dim], dim=-1
        )
        contours, real = self._contours(words, features.mask)
        # Both directions start at a real window, so padding does not change the states.
        backward = _reversed(run_lstm(self.backward, _reversed(contours, real)), real)
        memory = torch.cat([run_lstm(self.onward, contours), backward], dim=-1)
        scores = self.query(states) @ memory.transpose(1, 2) / memory.shape[-1] ** 0.5
        scores = scores + (1.0 - real.unsqueeze(1)) * MASKED
        joined = torch.cat([states, scores.softmax(dim=-1) @ memory], dim=-1)
        return Tokens(self.out(joined), features.mask)

    def _contours(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return means over windows, float (batch, window, feature), and the windows' mask."""

        def pool(values: Tensor) -> Tensor:
            # Padded on both sides, so that every text has a window and its last token is in one.
            padded = functional.pad(values, (self.window // 2, self.window))
            return functional.avg_pool1d(padded, self.window, self.step)

        share = pool(mask.unsqueeze(1))
        mean = pool((words * mask.unsqueeze(-1)).transpose(1, 2)) / share.clamp_min(1e-6)
        return mean.transpose(1, 2), (share > 0).squeeze(1).float()


def _reversed(values: Tensor, real: Tensor) -> Tensor:
    """Reverse the real windows of each row; float (batch, window, dim)."""
    last = real.sum(dim=1, keepdim=True).long() - 1
    # After the last real window any valid index will do.
    order = (last - torch.arange(values.shape[1], device=values.device)).abs()
    return values.gather(1, order.unsqueeze(-1).expand_as(values))


def _make_table(config: ContoursConfig, vocabulary: int) -> Tensor:
    """Return the features of every token of a vocabulary, float (token, feature)."""
    tokenizer = load_tokenizer(text_weights_folder(config.weights) / "tokenizer.json")
    tokens = tokenizer.get_vocab()
    categories = [set(words.split()) for words in CATEGORIES.values()]
    # Where word starts are marked, unmarked tokens continue a word: "like" in "unlike".
    marked = any(token.startswith(_WORD_STARTS) for token in tokens)
    rows = [[0.0] * (_SURFACE + len(categories)) for _ in range(vocabulary)]
    for token, token_id in tokens.items():
        # Decoded, without marks and byte letters: special tokens become empty, and parts of a
        # character the replacement character.
        word = tokenizer.decode([token_id]).removeprefix("##").strip().lower()
        if token_id >= vocabulary or not word or "\ufffd" in word or _UNUSED.fullmatch(word):
            continue
        starts = token.startswith(_WORD_STARTS) if marked else not token.startswith("##")
        rows[token_id] = [
            min(len(word), 12) / 12,
            len(_VOWELS.findall(word)) / 4,
            float(not any(map(str.isalnum, word))),
            *(float(starts and word in words) for words in categories),
        ]
    return torch.tensor(rows)
