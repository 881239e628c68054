"""The whole network: encoders, fusion, heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmperson.config import Recipe
from mmperson.models.label_transforms import LABEL_TRANSFORMS
from mmperson.models.registry import ENCODERS, FUSIONS, GENERIC, HEADS, TAUGHT_FUSIONS, component
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.spec import InputSpec

Batch = dict[str, Tensor]
"""Network inputs of several clips, see ``preprocessing.collate.collate``: ``present`` (batch, 3),
and for each modality its array and ``<name>_mask``. The keys are the input names of the exported
graphs. Cached features of a frozen encoder replace its input: ``<name>_features`` (batch, token,
dim) and ``<name>_features_mask`` (batch, token).
"""


class PersonalityNetwork(nn.Module):
    """Encoders → fusion → heads.

    Args:
        recipe: Components and their sizes.
        spec: The preprocessing.
        pretrained: Load pretrained encoder weights; False if a checkpoint will be loaded.
    """

    def __init__(self, recipe: Recipe, spec: InputSpec, *, pretrained: bool = True) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict()
        for name in recipe.modalities:
            config, part = getattr(recipe, name), getattr(spec, name)
            build = ENCODERS[name].get(config.name) or GENERIC[part.encoder]
            self.encoders[name] = build(config, part, pretrained=pretrained)
        dims = {name: int(encoder.dim) for name, encoder in self.encoders.items()}
        targets = len(recipe.data.targets)
        fusions = FUSIONS if recipe.teacher is None else TAUGHT_FUSIONS
        build_fusion = component("fusion", fusions, recipe.fusion.name)
        self.fusion = build_fusion(recipe.fusion, dims, targets)
        build_head = component("head", HEADS, recipe.heads.name)
        self.heads = build_head(recipe.heads, self.fusion.dim, targets)
        self.labels = LABEL_TRANSFORMS[recipe.data.labels](targets)

    def encode(self, batch: Batch) -> dict[str, Tokens]:
        """Return the tokens of each modality."""
        tokens = {}
        for name, encoder in self.encoders.items():
            if f"{name}_features" in batch:
                features = Tokens(batch[f"{name}_features"], batch[f"{name}_features_mask"])
                tokens[name] = encoder.adapt(features)
            else:
                tokens[name] = encoder(batch[name], batch[f"{name}_mask"])
        return tokens

    @torch.inference_mode()
    def features(self, name: str, batch: Batch) -> Tokens:
        """Return the features of a frozen encoder, float (batch, token, dim), and their mask."""
        encoder = self.encoders[name].eval()
        return encoder.features(batch[name], batch[f"{name}_mask"])

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Tensor:
        """Score encoded clips; present is float (batch, 3). Returns float (batch, target)."""
        return self.labels.inverse(self.heads(self.fusion(tokens, present).vectors))

    def forward_transformed(self, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Return scores in the space of transformed labels, for training.

        Returns:
            Scores, float (batch, target), and the fusion's auxiliary loss, float ().
        """
        vectors, auxiliary_loss = self.fusion(self.encode(batch), batch["present"])
        return self.heads(vectors), auxiliary_loss

    def forward(self, batch: Batch) -> Tensor:
        """Score clips. Returns float (batch, target); traits are about [0, 1]."""
        return self.fuse(self.encode(batch), batch["present"])
