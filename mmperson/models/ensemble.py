"""Several networks of one recipe as one: their scores averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmperson.models.encoders.encoder import Encoder
from mmperson.models.network import PersonalityNetwork
from mmperson.models.tokens import Tokens


class EnsembleEncoder(Encoder):
    """The members' encoders of a modality; their tokens are joined on the feature axis.

    Frozen backbones that are the same in all members become one module.

    Args:
        members: Encoders of one recipe, which differ in their weights alone.
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
        """Encode as far as nothing is trained; float (batch, token, the members' dims)."""
        return _joined([member.features(x, mask) for member in self.members])

    def adapt(self, features: Tokens) -> Tokens:
        """Let every member adapt its own features; float (batch, token, dim)."""
        parts = _parted(features, len(self.members))
        pairs = zip(self.members, parts, strict=True)
        return _joined([member.adapt(part) for member, part in pairs])


class Ensemble(PersonalityNetwork):
    """Networks of one recipe side by side; a score is the mean of theirs.

    To whoever scores or exports it is one network: an encoder per modality and one fusion. It is
    not trained.

    Args:
        members: The networks.
    """

    def __init__(self, members: Sequence[PersonalityNetwork]) -> None:
        nn.Module.__init__(self)  # Its parts are there already.
        self.members = nn.ModuleList(members)
        self.encoders = nn.ModuleDict({
            name: EnsembleEncoder([cast(Encoder, member.encoders[name]) for member in members])
            for name in members[0].encoders
        })  # fmt: skip

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Tensor:
        """Average the members' scores of encoded clips.

        Args:
            tokens: The members' tokens of each modality, joined.
            present: float (batch, 3), 1 where video, audio, text is present.

        Returns:
            float (batch, target).
        """
        parts = {name: _parted(joined, len(self.members)) for name, joined in tokens.items()}
        scores = [
            member.fuse({name: part[index] for name, part in parts.items()}, present)
            for index, member in enumerate(self.members)
        ]
        return torch.stack(scores).mean(dim=0)


def _joined(tokens: Sequence[Tokens]) -> Tokens:
    """Put tokens side by side; members see the same clip, so that one mask holds for all."""
    return Tokens(torch.cat([part.values for part in tokens], dim=-1), tokens[0].mask)


def _parted(tokens: Tokens, members: int) -> list[Tokens]:
    return [Tokens(values, tokens.mask) for values in tokens.values.chunk(members, dim=-1)]


def _share_backbone(members: Sequence[Encoder]) -> None:
    """Give all members the first one's backbone, if theirs are frozen and the same."""
    first = getattr(members[0], "backbone", None)
    if first is None or not all(member.frozen for member in members):
        return
    weights = first.state_dict()
    for member in members[1:]:
        found = member.backbone.state_dict()
        if all(torch.equal(weights[name], tensor) for name, tensor in found.items()):
            member.backbone = first
