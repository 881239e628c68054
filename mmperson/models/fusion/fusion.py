"""The base class of fusions."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mmperson.models.layers.pooling import read_modalities
from mmperson.models.tokens import Tokens


class Fused(NamedTuple):
    """The output of a fusion.

    Attributes:
        vectors: float (batch, target, dim), for the heads.
        auxiliary_loss: float (), added to the training loss; 0 where a fusion has none, and in
            evaluation.
    """

    vectors: Tensor
    auxiliary_loss: Tensor | float = 0.0


class Fusion(nn.Module):
    """Fuse the tokens of all modalities into one vector per target.

    Subclasses are built as ``MyFusion(config, dims, targets)``, with their section of the recipe.
    The output for a clip must not depend on padding, on other clips of the batch, or on the tokens
    of an absent modality; a contract test checks every registered fusion.

    Args:
        dims: Token width by modality.
        targets: Number of targets.
        dim: Width of a target's vector.

    Attributes:
        modalities: Keys of ``dims``, in the order video, audio, text.
    """

    def __init__(self, dims: dict[str, int], targets: int, dim: int) -> None:
        super().__init__()
        self.modalities = read_modalities(dims)
        self.targets, self.dim = targets, dim

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities.

        Handle a missing modality by arithmetic with ``present``, never by an ``if``, which an
        exported graph would not contain.

        Args:
            tokens: Tokens by modality, float (batch, token, dim), and their masks.
            present: float (batch, 3), 1 where video, audio, text is present.

        Returns:
            Vectors, float (batch, target, dim), and the auxiliary loss.
        """
        raise NotImplementedError

    def expand(self, trunk: Tensor) -> Tensor:
        """Give one vector to all targets: float (batch, dim) to float (batch, target, dim)."""
        return trunk.unsqueeze(1).expand(-1, self.targets, -1)
