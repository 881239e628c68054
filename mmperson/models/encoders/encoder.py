"""What every encoder is."""

from __future__ import annotations

from torch import Tensor, nn

from mmperson.models.tokens import Tokens


class Encoder(nn.Module):
    """One modality in, tokens and their mask out, in two steps.

    What a frozen backbone says of a clip never changes in training, so it is computed once and
    kept: that is ``features``. ``adapt`` is what is trained.

    Attributes:
        dim: Width of a token.
        frozen: Whether ``features`` never changes in training.
        framewise: Whether ``features`` looks at each frame by itself, and gives as many tokens: a
            frame that repeats another need not be encoded again.
    """

    dim: int
    frozen: bool = False
    framewise: bool = False

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode as far as nothing is trained; see ``inputs.batch.collate`` for x and mask."""
        raise NotImplementedError

    def adapt(self, features: Tokens) -> Tokens:
        """Turn the features into tokens."""
        return features

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a modality; see ``inputs.batch.collate`` for x and mask."""
        return self.adapt(self.features(x, mask))
