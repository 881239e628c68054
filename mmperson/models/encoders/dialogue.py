"""Utterances of a dialogue: the speaker's, read in the context of what others say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import DialogueConfig, TransformerConfig
from mmperson.models.encoders.text import TextEncoder, token_spec, tokenizer_file
from mmperson.models.tokens import MASKED, Tokens
from mmperson.preprocessing.spec import DialogueSpec
from mmperson.preprocessing.text.encode import load_tokenizer


class DialogueEncoder(TextEncoder):
    r"""A token per utterance of the speaker.

    The transformer reads every utterance by itself; u is the mean of its token states. With s over
    the speaker's utterances and o over those of all others,

    .. math:: u \leftarrow \mathrm{LN}(u + W [\mathrm{Att}_1(u, s, s); \mathrm{Att}_2(u, o, o)])

    and the speaker's utterances alone leave the encoder. Where nobody else speaks, the second term
    is zero and the speaker's utterances attend to each other.

    Source: after the attentive networks for dialogue on FriendsPersona (Jiang et al. 2020,
    Automatic Text-based Personality Recognition on Monologues and Multiparty Dialogues); sentences
    as utterances, and one layer of attention with residuals, are our own.

    Args:
        config: Weights and sizes.
        spec: How transcripts become token ids and markers.
        pretrained: Load the weights; False leaves them to a checkpoint.

    Raises:
        ConfigError: As ``TextEncoder``.
    """

    def __init__(
        self, config: DialogueConfig, spec: DialogueSpec, *, pretrained: bool = True
    ) -> None:
        super().__init__(config, spec, pretrained=pretrained)
        self.marker = spec.marker
        self.among, self.context = _Attention(self.dim), _Attention(self.dim)
        self.mix = nn.Linear(2 * self.dim, self.dim)
        self.norm = nn.LayerNorm(self.dim)

    @classmethod
    def spec(cls, config: TransformerConfig) -> DialogueSpec:
        """Return the tokens of utterances; markers lie beyond the tokenizer's vocabulary."""
        vocabulary = load_tokenizer(tokenizer_file(config)).get_vocab_size()
        return DialogueSpec(**token_spec(config).model_dump(), marker=vocabulary)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode utterances.

        Args:
            x: int64 (batch, token), with a marker before every utterance.
            mask: float (batch, token), 1 for real tokens.

        Returns:
            Utterances, float (batch, token, dim + 1), the last element 1 where somebody else
            speaks. There are never more than tokens; behind the last one is padding.
        """
        (states, real), others = self._utterances(x, mask)
        values = (states - self.mean) @ self.basis
        return Tokens(torch.cat([values, others.unsqueeze(-1)], dim=-1), real)

    def pooled_states(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the chosen hidden states averaged over utterances, float (row, width)."""
        (states, real), _ = self._utterances(x, mask)
        return (states * real.unsqueeze(-1)).sum(dim=1) / real.sum(dim=1, keepdim=True)

    def adapt(self, features: Tokens) -> Tokens:
        """Let the speaker's utterances read each other and what others say."""
        values, others = features.values[..., :-1], features.values[..., -1]
        own = features.mask * (1.0 - others)
        # Where a long dialogue was cut before the speaker says a word, all is read.
        own = torch.where(own.sum(dim=1, keepdim=True) > 0, own, features.mask)
        read = [self.among(values, own), self.context(values, features.mask - own)]
        return Tokens(self.norm(values + self.mix(torch.cat(read, dim=-1))), own)

    def _utterances(self, x: Tensor, mask: Tensor) -> tuple[Tokens, Tensor]:
        """Return mean states by utterance, float (batch, token, width), and who else speaks."""
        begins = mask * (x >= self.marker)
        real = mask - begins
        # Without a marker, as in a row without words, all is one utterance.
        number = (begins.cumsum(dim=1) - 1.0).clamp_min(0.0)
        same = (number.unsqueeze(1) == number.unsqueeze(2)) * real.unsqueeze(1)
        place = torch.arange(x.shape[1], device=x.device)
        before = same * (place < place.unsqueeze(1))
        position = before.sum(dim=2)
        seen = before + same * (place == place.unsqueeze(1)) if self.causal else same
        words = torch.where(begins > 0, torch.zeros_like(x), x)
        states = self.run_backbone(words, 1.0 - seen.unsqueeze(1), position.long())
        parts = (number.unsqueeze(1) == place.unsqueeze(1)) * real.unsqueeze(1)
        if self.causal:
            # The first token of every utterance is a sink, and stays only where it is alone.
            after = parts * (position > 0).unsqueeze(1)
            parts = torch.where(after.sum(dim=2, keepdim=True) > 0, after, parts)
        count = parts.sum(dim=2)
        turns = (number.unsqueeze(1) == place.unsqueeze(1)) * begins.unsqueeze(1)
        others = (turns * (x > self.marker).unsqueeze(1)).sum(dim=2)
        means = parts @ states / count.clamp_min(1.0).unsqueeze(-1)
        return Tokens(means, (count > 0).to(means)), others


class _Attention(nn.Module):
    """Attention with one head over chosen utterances; zero where none is chosen."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, values: Tensor, chosen: Tensor) -> Tensor:
        """Read utterances, float (batch, utterance, dim); chosen is float (batch, utterance)."""
        scores = self.query(values) @ self.key(values).transpose(1, 2) / values.shape[-1] ** 0.5
        scores = scores + (1.0 - chosen.unsqueeze(1)) * MASKED
        some = (chosen.sum(dim=1) > 0).to(values).reshape(-1, 1, 1)
        return some * (scores.softmax(dim=-1) @ self.value(values))
