"""What every fusion is."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mmperson.models.layers.pooling import read_modalities
from mmperson.models.tokens import Tokens


class Fused(NamedTuple):
    """What a fusion returns.

    Attributes:
        vectors: float (batch, target, dim), for the heads.
        auxiliary_loss: Added to the loss in training, float (); 0 where a fusion has none, and in
            evaluation.
    """

    vectors: Tensor
    auxiliary_loss: Tensor | float = 0.0


class Fusion(nn.Module):
    """Tokens of every modality and a presence mask in, one vector per target out.

    A fusion is built as ``MyFusion(config, dims, targets)``: its section of the recipe, the token
    width of each modality that is read, and the number of targets. What it returns for a clip must
    not depend on padding, on other clips of the batch, or on the tokens of an absent modality; a
    contract test holds every registered fusion to this.

    Args:
        dims: Token width of each modality that is read.
        targets: Number of targets.
        dim: Width of a target's vector.

    Attributes:
        modalities: Names of the modalities that are read, in the order video, audio, text.
        targets: Number of targets.
        dim: Width of a target's vector.
    """

    def __init__(self, dims: dict[str, int], targets: int, dim: int) -> None:
        super().__init__()
        self.modalities = read_modalities(dims)
        self.targets, self.dim = targets, dim

    def forward(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fuse the modalities.

        A missing modality must be arithmetic with ``present``, never an ``if``, which an exported
        graph would not contain.

        Args:
            tokens: Tokens of each modality that is read, float (batch, token, dim), and their mask.
            present: float (batch, 3), 1 where video, audio, text is present.

        Returns:
            Vectors, float (batch, target, dim), and the auxiliary loss.
        """
        raise NotImplementedError

    def expand(self, trunk: Tensor) -> Tensor:
        """Give one vector to all targets: float (batch, dim) to float (batch, target, dim)."""
        return trunk.unsqueeze(1).expand(-1, self.targets, -1)
