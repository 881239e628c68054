"""The base class of encoders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from mmperson.models.tokens import Tokens
from mmperson.preprocessing.modality import ModalitySpec


class InputBatch(NamedTuple):
    """One modality of a few rows.

    Attributes:
        x: The encoder's input, (batch, …); zeros where the modality is absent.
        mask: float (batch, …), 1 where an element is real; the first one always is.
        present: float (batch,), 1 where the modality is present.
    """

    x: Tensor
    mask: Tensor
    present: Tensor


class Encoder(nn.Module):
    """Encode one modality into tokens and their mask, in two steps.

    ``features`` is the part that may be frozen; training then caches its output. ``adapt`` is
    always trained.

    Subclasses are built as ``MyEncoder(config, spec, pretrained=True)``: their section of the
    recipe, the preprocessing, and whether to load pretrained weights. Without them the weights stay
    random, for a checkpoint to be loaded.

    Attributes:
        dim: Width of a token.
        frozen: Whether training never changes ``features``.
        framewise: Whether ``features`` encodes each frame independently, one token per frame, so
            that repeated frames are encoded once.
        fitted: Buffers that ``fit`` sets from a sample of rows and that are cached, because
            fitting is expensive.
    """

    dim: int
    frozen: bool = False
    framewise: bool = False
    fitted: tuple[str, ...] = ()

    @classmethod
    def spec(cls, config: Any) -> ModalitySpec:
        """Return the preprocessing for a section of a recipe."""
        raise NotImplementedError

    def fit(self, batches: Iterable[InputBatch]) -> None:
        """Fit buffers to training rows, such as their mean."""

    def fit_features(self, features: Sequence[Tensor]) -> None:
        """Initialise parameters from cached features of training rows.

        Args:
            features: float16 (token, dim), of every row where the modality is present.
        """

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Compute the features; see ``preprocessing.collate`` for x and mask."""
        raise NotImplementedError

    def adapt(self, features: Tokens) -> Tokens:
        """Map features to tokens."""
        return features

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a modality; see ``preprocessing.collate`` for x and mask."""
        return self.adapt(self.features(x, mask))
