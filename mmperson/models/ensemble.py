"""An ensemble of networks as one network whose scores are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmperson.models.encoders.encoder import Encoder
from mmperson.models.network import PersonalityNetwork
from mmperson.models.tokens import Tokens


class EnsembleEncoder(Encoder):
    """The members' encoders of a modality; concatenates their tokens on the feature axis.

    Members share one backbone module if theirs are frozen and have equal weights.

    Args:
        members: Encoders of one recipe.
    """

    def __init__(self, members: Sequence[Encoder]) -> None:
        super().__init__()
        _share_backbone(members)
        self.members = nn.ModuleList(members)
        self.dim = sum(member.dim for member in members)
        self.frozen = all(member.frozen for member in members)
        self.framewise = all(member.framewise for member in members)
        self.stride = getattr(members[0], "stride", 1)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Concatenate the members' features; float (batch, token, sum of feature dims)."""
        return _concatenate([member.features(x, mask) for member in self.members])

    def adapt(self, features: Tokens) -> Tokens:
        """Adapt each member's features; float (batch, token, dim)."""
        pairs = zip(self.members, _split(features, len(self.members)), strict=True)
        return _concatenate([member.adapt(part) for member, part in pairs])


class Ensemble(PersonalityNetwork):
    """The mean score of several networks of one recipe, for scoring and export.

    Args:
        members: The networks.
    """

    def __init__(self, members: Sequence[PersonalityNetwork]) -> None:
        nn.Module.__init__(self)  # The parent would build encoders and a fusion.
        self.members = nn.ModuleList(members)
        self.encoders = nn.ModuleDict({
            name: EnsembleEncoder([cast(Encoder, member.encoders[name]) for member in members])
            for name in members[0].encoders
        })  # fmt: skip

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Tensor:
        """Average the members' scores, see ``PersonalityNetwork.fuse``."""
        parts = {name: _split(joined, len(self.members)) for name, joined in tokens.items()}
        scores = [
            member.fuse({name: part[index] for name, part in parts.items()}, present)
            for index, member in enumerate(self.members)
        ]
        return torch.stack(scores).mean(dim=0)


def _concatenate(tokens: Sequence[Tokens]) -> Tokens:
    """Concatenate members' tokens of the same clips, whose masks are equal."""
    return Tokens(torch.cat([part.values for part in tokens], dim=-1), tokens[0].mask)


def _split(tokens: Tokens, members: int) -> list[Tokens]:
    return [Tokens(values, tokens.mask) for values in tokens.values.chunk(members, dim=-1)]


def _share_backbone(members: Sequence[Encoder]) -> None:
    """Replace frozen backbones that equal the first member's by that module."""
    first = getattr(members[0], "backbone", None)
    if first is None or not all(member.frozen for member in members):
        return
    weights = first.state_dict()
    for member in members[1:]:
        own = member.backbone.state_dict()
        if all(torch.equal(weights[name], tensor) for name, tensor in own.items()):
            member.backbone = first
