"""What every encoder is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from mmperson.models.tokens import Tokens
from mmperson.preprocessing.modality import ModalitySpec


class InputBatch(NamedTuple):
    """One modality of a few rows.

    Attributes:
        x: What the encoder reads, (batch, …); zeros where it is absent.
        mask: float (batch, …), 1 where an element is real; the first one is where it is absent.
        present: float (batch,), 1 where the modality is there.
    """

    x: Tensor
    mask: Tensor
    present: Tensor


class Encoder(nn.Module):
    """One modality in, tokens and their mask out, in two steps.

    What a frozen backbone says of a clip never changes in training, so it is computed once and
    kept: that is ``features``. ``adapt`` is what is trained.

    Attributes:
        dim: Width of a token.
        frozen: Whether ``features`` never changes in training.
        framewise: Whether ``features`` looks at each frame by itself, and gives as many tokens: a
            frame that repeats another need not be encoded again.
        fitted: Buffers that ``fit`` sets at such cost that a sample of the rows must do, and that
            the result is kept on the disk.
    """

    dim: int
    frozen: bool = False
    framewise: bool = False
    fitted: tuple[str, ...] = ()

    @classmethod
    def spec(cls, config: Any) -> ModalitySpec:
        """Return the preprocessing that a section of a recipe asks for."""
        raise NotImplementedError

    def fit(self, batches: Iterable[InputBatch]) -> None:
        """Take from training rows what comes from no gradient, such as their mean."""

    def fit_features(self, features: Sequence[Tensor]) -> None:
        """Take from what ``features`` says of training rows what comes from no gradient.

        Args:
            features: float16 (token, dim), of every row where the modality is there; called only
                where they are kept.
        """

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode as far as nothing is trained; see ``preprocessing.collate`` for x and mask."""
        raise NotImplementedError

    def adapt(self, features: Tokens) -> Tokens:
        """Turn the features into tokens."""
        return features

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a modality; see ``preprocessing.collate`` for x and mask."""
        return self.adapt(self.features(x, mask))
