"""The whole network: encoders, fusion, heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import Recipe
from mmperson.inputs.spec import InputSpec
from mmperson.models.encoders.text import TextEncoder
from mmperson.models.registry import AUDIO_ENCODERS, FUSIONS, HEADS, component
from mmperson.models.tokens import Tokens
from mmperson.traits import TRAITS

Batch = dict[str, Tensor]
"""Network inputs of several clips; what is absent holds zeros and is marked in ``present``.

``input_ids`` and ``attention_mask`` are int64 (batch, token), ``descriptors`` is float (batch,
descriptor), ``present`` is float (batch, 3), 1 where video, audio, text is present. The keys are
the input names of the exported graphs; those of modalities that are not read are left out. What a
frozen text encoder has already said stands in for the ids: ``text_tokens``, float (batch, token,
dim), and ``text_mask``, float (batch, token).
"""


class PersonalityNetwork(nn.Module):
    """Encoders → fusion → heads.

    Args:
        recipe: Which components, and their sizes.
        spec: The preprocessing whose output it reads.
        pretrained: Load pretrained encoder weights; False leaves them to a checkpoint.
    """

    def __init__(self, recipe: Recipe, spec: InputSpec, *, pretrained: bool = True) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict()
        if recipe.audio is not None:
            assert spec.audio is not None
            build = component("audio encoder", AUDIO_ENCODERS, recipe.audio.name)
            self.encoders["audio"] = build(recipe.audio, spec.audio.size)
        if recipe.text is not None:
            self.encoders["text"] = TextEncoder(recipe.text, pretrained=pretrained)
        dims = {name: int(encoder.dim) for name, encoder in self.encoders.items()}
        self.fusion = component("fusion", FUSIONS, recipe.fusion.name)(recipe.fusion, dims)
        self.heads = component("head", HEADS, recipe.heads.name)(
            recipe.heads, self.fusion.dim, len(TRAITS)
        )

    def encode(self, batch: Batch) -> dict[str, Tokens]:
        """Return the tokens of each modality that is read."""
        tokens = {}
        if "audio" in self.encoders:
            tokens["audio"] = self.encoders["audio"](batch["descriptors"])
        if "text_tokens" in batch:
            tokens["text"] = Tokens(batch["text_tokens"], batch["text_mask"])
        elif "text" in self.encoders:
            tokens["text"] = self.encoders["text"](batch["input_ids"], batch["attention_mask"])
        return tokens

    @torch.inference_mode()
    def text_tokens(self, batch: Batch) -> Tensor:
        """Return what a frozen text encoder says, float (batch, token, dim)."""
        return self.encoders["text"](batch["input_ids"], batch["attention_mask"]).values

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Tensor:
        """Score encoded clips; present is float (batch, 3). Returns float (batch, trait)."""
        return self.heads(self.fusion(tokens, present))

    def forward(self, batch: Batch) -> Tensor:
        """Score clips. Returns float (batch, trait), about [0, 1]."""
        return self.fuse(self.encode(batch), batch["present"])
