"""The speaker's utterances in the context of a dialogue."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import DialogueConfig, TransformerConfig
from mmperson.models.encoders.text import TextEncoder, token_spec, tokenizer_file
from mmperson.models.layers.pooling import masked_mean
from mmperson.models.tokens import MASKED, Tokens
from mmperson.preprocessing.spec import DialogueSpec
from mmperson.preprocessing.text.encode import load_tokenizer


class DialogueEncoder(TextEncoder):
    r"""One token per utterance of the speaker.

    The transformer encodes each utterance independently; u is the mean of its token states. With s
    over the speaker's utterances and o over those of all others,

    .. math:: u \leftarrow \mathrm{LN}(u + W [\mathrm{Att}_1(u, s, s); \mathrm{Att}_2(u, o, o)])

    and only the speaker's utterances become tokens. Where nobody else speaks, the second term is
    zero.

    Source: after the attentive networks for dialogue on FriendsPersona (Jiang et al. 2020,
    Automatic Text-based Personality Recognition on Monologues and Multiparty Dialogues); sentences
    as utterances, and one layer of attention with residuals, are our own.

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
        """Return the preprocessing; markers are ids beyond the tokenizer's vocabulary."""
        vocabulary = load_tokenizer(tokenizer_file(config)).get_vocab_size()
        return DialogueSpec(**token_spec(config).model_dump(), marker=vocabulary)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode utterances.

        Args:
            x: int64 (batch, token), with a marker before every utterance.
            mask: float (batch, token), 1 for real tokens.

        Returns:
            Utterances, float (batch, token, dim + 1), padded to the number of tokens; the last
            element is 1 where somebody else speaks.
        """
        (states, real), others = self._utterances(x, mask)
        values = (states - self.mean) @ self.basis
        return Tokens(torch.cat([values, others.unsqueeze(-1)], dim=-1), real)

    def pooled_states(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the selected hidden states averaged over utterances, float (row, width)."""
        return masked_mean(self._utterances(x, mask)[0])

    def adapt(self, features: Tokens) -> Tokens:
        """Let the speaker's utterances attend to each other and to those of others."""
        values, others = features.values[..., :-1], features.values[..., -1]
        own = features.mask * (1.0 - others)
        # Where truncation left no utterance of the speaker, all count as the speaker's.
        own = torch.where(own.sum(dim=1, keepdim=True) > 0, own, features.mask)
        context = [self.among(values, own), self.context(values, features.mask - own)]
        return Tokens(self.norm(values + self.mix(torch.cat(context, dim=-1))), own)

    def _utterances(self, x: Tensor, mask: Tensor) -> tuple[Tokens, Tensor]:
        """Return mean states by utterance, float (batch, token, width), and where others speak."""
        begins = mask * (x >= self.marker)
        real = mask - begins
        # Without a marker, as in an empty row, everything is one utterance.
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
            # The first token of an utterance is an attention sink, kept only if it is the only one.
            after = parts * (position > 0).unsqueeze(1)
            parts = torch.where(after.sum(dim=2, keepdim=True) > 0, after, parts)
        count = parts.sum(dim=2)
        turns = (number.unsqueeze(1) == place.unsqueeze(1)) * begins.unsqueeze(1)
        others = (turns * (x > self.marker).unsqueeze(1)).sum(dim=2)
        means = parts @ states / count.clamp_min(1.0).unsqueeze(-1)
        return Tokens(means, (count > 0).to(means)), others


class _Attention(nn.Module):
    """Attention with one head over selected utterances; zero where none is selected."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        scores = self.query(values) @ self.key(values).transpose(1, 2) / values.shape[-1] ** 0.5
        scores = scores + (1.0 - mask.unsqueeze(1)) * MASKED
        any_selected = (mask.sum(dim=1) > 0).to(values).reshape(-1, 1, 1)
        return any_selected * (scores.softmax(dim=-1) @ self.value(values))
