"""A language model answers a personality inventory in the role of the speaker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig

from mmperson.config import QuestionnaireConfig, TransformerConfig
from mmperson.errors import ConfigError
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.encoders.text import TextEncoder, text_weights_folder, token_spec
from mmperson.models.pretrained import WEIGHTS_FILE
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.spec import TextSpec
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.preprocessing.text.inventory import ANSWERS, INTRODUCTION, ITEMS, question


class QuestionnaireEncoder(Encoder):
    """One token per item: the expected answer of a frozen causal language model.

    One pass encodes all items: they are appended after the transcript and masked from each other,
    with the positions that each would have alone. The answer is the mean of 1 to 5 under the
    model's probabilities of these five tokens.

    Source: questionnaire prompting after PsyCoT (Yang et al. 2023, arXiv:2310.20256); expected
    answers of a small local model instead of generated ones, and the shared transcript, are our
    own.

    Raises:
        ConfigError: As ``TextEncoder``, or the network is not a causal language model, or an answer
            is not one token.
    """

    frozen = True
    tail: Tensor
    part: Tensor
    offset: Tensor
    ends: Tensor
    answers: Tensor

    def __init__(
        self, config: QuestionnaireConfig, spec: TextSpec, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        folder = text_weights_folder(config.weights)
        shape = AutoConfig.from_pretrained(folder, local_files_only=True)
        last = TransformerConfig(weights=config.weights, layers=(shape.num_hidden_layers,), dim=8)
        self.reader = TextEncoder(last, spec, pretrained=pretrained)
        if not self.reader.causal:
            raise ConfigError(
                f"{config.weights!r} is no causal language model; 'questionnaire' needs one.",
                hint="Use one like SmolLM2: python scripts/fetch_smollm2.py.",
            )
        intro, items, choices = _tokenise(load_tokenizer(folder / "tokenizer.json"))
        lengths = torch.tensor([len(intro), *map(len, items)])
        part = torch.arange(len(lengths)).repeat_interleave(lengths)
        begins = lengths.cumsum(dim=0) - lengths
        offset = torch.arange(len(part)) - begins[part]
        self.register_buffer("tail", torch.tensor([*intro, *chain(*items)]))
        self.register_buffer("part", part)
        # The position of every item starts after the introduction.
        self.register_buffer("offset", offset + (part > 0) * len(intro))
        self.register_buffer("ends", (begins + lengths)[1:] - 1)
        self.register_buffer("answers", torch.zeros(len(ANSWERS), shape.hidden_size))
        if pretrained:
            self.answers.copy_(self._answer_weights(folder / WEIGHTS_FILE, choices))
        self.dim = config.dim
        self.log_gain = nn.Parameter(torch.zeros(len(ITEMS)))
        self.shift = nn.Parameter(torch.zeros(len(ITEMS)))
        self.weight = nn.Parameter(torch.randn(len(ITEMS), config.dim))
        self.bias = nn.Parameter(torch.zeros(len(ITEMS), config.dim))

    @classmethod
    def spec(cls, config: QuestionnaireConfig) -> TextSpec:
        """Return the preprocessing with the language model's tokenizer."""
        return token_spec(config)

    def train(self, mode: bool = True) -> QuestionnaireEncoder:
        """Set training mode, except for the language model."""
        super().train(mode)
        self.reader.eval()
        return self

    def fit_features(self, features: Sequence[Tensor]) -> None:
        """Initialise gain and shift to standardise answers, which vary little between clips."""
        answers = torch.stack(list(features))[..., 0].float()
        scale = answers.std(dim=0, correction=0).clamp_min(1e-4)
        with torch.no_grad():
            self.log_gain.copy_(-scale.log())
            self.shift.copy_(-answers.mean(dim=0) / scale)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Answer all items.

        Args:
            x: int64 (batch, token), the transcript.
            mask: float (batch, token), 1 for real tokens.

        Returns:
            Expected answers, float (batch, item, 1), from -1 for 1 to 1 for 5; all are real.
        """
        batch, tokens = x.shape
        length = mask.sum(dim=1, keepdim=True).long()
        place = torch.arange(tokens, device=x.device).expand(batch, tokens)
        ids = torch.cat([x, self.tail.expand(batch, -1)], dim=1)
        positions = torch.cat([place, length + self.offset], dim=1)
        real = torch.cat([mask, torch.ones_like(self.tail, dtype=mask.dtype).expand(batch, -1)], 1)
        part = torch.cat([torch.zeros_like(place[0]), self.part])
        # The transcript and the introduction are part 0, which is visible to all items.
        order = torch.arange(ids.shape[1], device=x.device)
        visible = (part == 0) | (part == part.unsqueeze(1))
        visible = visible & (order <= order.unsqueeze(1))
        visible = visible.to(mask) * real.unsqueeze(1)
        states = self.reader.run_backbone(ids, 1.0 - visible.unsqueeze(1), positions)
        probabilities = (states[:, tokens:][:, self.ends] @ self.answers.T).softmax(dim=-1)
        steps = torch.linspace(-1.0, 1.0, len(ANSWERS), device=x.device)
        expected = (probabilities @ steps).unsqueeze(-1)
        return Tokens(expected, torch.ones_like(expected[..., 0]))

    def adapt(self, features: Tokens) -> Tokens:
        """Map each standardised answer to a token by an affine function of its item."""
        standard = self.log_gain.exp() * features.values[..., 0] + self.shift
        return Tokens(standard.unsqueeze(-1) * self.weight + self.bias, features.mask)

    def _answer_weights(self, file: Path, choices: list[int]) -> Tensor:
        """Return the output layer's rows of the answers, float (answer, dim)."""
        with safe_open(file, framework="pt") as tensors:
            if "lm_head.weight" in tensors.keys():  # noqa: SIM118 -- no mapping
                return tensors.get_tensor("lm_head.weight")[choices].float()
        return self.reader.backbone.get_input_embeddings().weight[choices].detach()


def _tokenise(tokenizer: Tokenizer) -> tuple[list[int], list[list[int]], list[int]]:
    """Return the tokens of the introduction, of each item, and of the answers."""

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    items, choices = [], []
    for item in ITEMS:
        answered = [encode(f"{question(item)} {answer}") for answer in ANSWERS]
        stems = {tuple(ids[:-1]) for ids in answered}  # With the space before the answer.
        choices = [ids[-1] for ids in answered]
        if len(stems) > 1 or len(set(choices)) < len(ANSWERS):
            raise ConfigError("The tokenizer does not encode each answer, 1 to 5, as one token.")
        items.append(list(stems.pop()))
    return encode(INTRODUCTION), items, choices
