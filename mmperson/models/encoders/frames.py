"""An image network on each frame, then attention over time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmperson.config import FramesConfig, ResidualVideoConfig, VideoNetworkConfig
from mmperson.errors import ConfigError, did_you_mean
from mmperson.models.layers.attention import Attention
from mmperson.models.layers.masked import pad_end
from mmperson.models.pretrained import BackboneEncoder, State, fill_backbone
from mmperson.models.tokens import MASKED, Tokens
from mmperson.preprocessing.spec import FrameSpec

_HEADS = 4
_WAVES = 8  # Cosines of a position in time, up to four periods per clip.


class FramesEncoder(BackboneEncoder):
    """An image network on each frame; the frames then attend to each other.

    Raises:
        ConfigError: The backbone is unknown, or its weights are missing or do not fit.
    """

    framewise = True

    def __init__(self, config: FramesConfig, spec: FrameSpec, *, pretrained: bool = True) -> None:
        network = image_network(config.backbone)
        if pretrained:
            fill_image_network(network, config.weights, trainable=config.trainable)
        if hasattr(network, "set_input_size"):  # Transformers resample their positions.
            network.set_input_size(img_size=(spec.height, spec.width))
        super().__init__(network, network.head_hidden_size, config)
        self.normalise = NormaliseFrames(spec)
        self.views = len(spec.views)
        if self.views > 1:
            self.view = nn.Parameter(0.02 * torch.randn(self.views, config.dim))
        self.attend = TemporalAttention(config.dim) if config.attention else None

    @classmethod
    def spec(cls, config: FramesConfig) -> FrameSpec:
        """Return frames normalised as the backbone was pretrained."""
        import timm  # Slow to import, and only its list of models is needed.

        pretrained = timm.get_pretrained_cfg(config.backbone, allow_unregistered=False)
        return frame_spec(config, pretrained)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode every frame independently.

        Args:
            x: uint8 (batch, frame, 3, height, width), RGB; all frames of the first view, then those
                of the second.
            mask: float (batch, frame), 1 where a frame is real.

        Returns:
            float (batch, frame, feature), and the mask.
        """
        return Tokens(encode_each(self.backbone, self.normalise(x), mask, self.feature_dim), mask)

    def adapt(self, features: Tokens) -> Tokens:
        """Project the features of frames and let them attend to each other.

        Args:
            features: float (batch, frame, feature), and their mask.

        Returns:
            float (batch, frame, dim), and the mask.
        """
        # The cached features of an absent clip are a single element, not one per view.
        features = Tokens(*(pad_end(part, self.views) for part in features))
        tokens, mask = super().adapt(features)
        count = tokens.shape[1]
        if self.views > 1:
            by_view = tokens.unflatten(1, (self.views, -1))
            count = by_view.shape[2]
            tokens = (by_view + self.view.unsqueeze(1)).flatten(1, 2)
        if self.attend is not None:
            times = (torch.arange(count, dtype=tokens.dtype, device=tokens.device) + 0.5) / count
            tokens = self.attend(tokens, mask, times.repeat(self.views))
        return Tokens(tokens, mask)


class TemporalAttention(nn.Module):
    r"""Self-attention over frames with positions in time.

    A position is :math:`W [\cos(\pi k t)]_{k = 1 \dots 8}` with :math:`t` from 0 to 1 over the
    clip, independent of the number of frames.

    Args:
        dim: Width of a token.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.position = nn.Linear(_WAVES, dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, math.gcd(dim, _HEADS))
        self.out = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Let frames attend to each other.

        Args:
            tokens: float (batch, frame, dim).
            mask: float (batch, frame), 1 where a frame is real.
            times: float (frame,), position of each frame in the clip, from 0 to 1.

        Returns:
            float (batch, frame, dim).
        """
        waves = torch.arange(1, _WAVES + 1, device=times.device)
        position = self.position(torch.cos(math.pi * times.unsqueeze(-1) * waves))
        normed = self.norm(tokens + position)
        bias = (1.0 - mask.unsqueeze(1)) * MASKED
        return self.out(tokens + self.attention(normed, normed, bias))


class NormaliseFrames(nn.Module):
    """Scale bytes to the mean and standard deviation of a network's training.

    Args:
        spec: Mean and standard deviation of each colour on the [0, 1] scale.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__()
        mean, std = (torch.tensor(x).reshape(3, 1, 1) for x in (spec.mean, spec.std))
        self.register_buffer("scale", 1.0 / (255.0 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise. uint8 (batch, frame, 3, height, width) to float of the same shape."""
        return x.to(self.scale.dtype) * self.scale + self.shift


def frame_spec(
    config: FramesConfig | VideoNetworkConfig | ResidualVideoConfig, pretrained: Any = None
) -> FrameSpec:
    """Return square frames.

    Args:
        config: Views, number and size.
        pretrained: Has the ``mean`` and ``std`` of each colour on the [0, 1] scale with which the
            network was pretrained; None for the defaults.
    """
    scale = {}
    if pretrained is not None:
        scale = {"mean": tuple(pretrained.mean), "std": tuple(pretrained.std)}
    size = dict.fromkeys(("short_side", "height", "width"), config.size)
    return FrameSpec(views=config.views, count=config.frames, **size, **scale)


def encode_each(network: nn.Module, frames: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Run an image network on every frame.

    Args:
        network: float (image, 3, height, width) to float (image, dim).
        frames: float (batch, frame, 3, height, width), normalised.
        mask: float (batch, frame), 1 where a frame is real.
        dim: Width of the network's output.

    Returns:
        float (batch, frame, dim).
    """
    images = frames.flatten(0, 1)
    if not network.training:
        return network(images).reshape(*frames.shape[:2], dim)
    # Padding must not enter the statistics of batch normalisation.
    real = mask.flatten() > 0
    encoded = network(images[real])
    every = encoded.new_zeros(len(images), dim).index_put((real,), encoded)
    return every.reshape(*frames.shape[:2], dim)


def image_network(name: str, **options: int) -> nn.Module:
    """Build a timm model without its classifier, with random weights.

    Raises:
        ConfigError: timm has no model of that name.
    """
    import timm  # Here: it takes a second to import.

    if not timm.is_model(name):
        raise ConfigError(
            f"timm has no model called {name!r}.",
            hint=did_you_mean(name, timm.list_models()) or "timm.list_models() lists them.",
        )
    return timm.create_model(name, pretrained=False, num_classes=0, **options)


def fill_image_network(network: nn.Module, weights: str | None, *, trainable: bool) -> None:
    """Load the weights of a timm model, without its classifier; see ``fill_backbone``.

    For a network with one input channel, the colours of the first convolution are summed.

    Raises:
        ConfigError: The weights are missing or do not fit.
    """
    facts = network.pretrained_cfg
    heads, first = _names(facts.get("classifier")), _names(facts.get("first_conv"))
    own = network.state_dict()

    def sum_colours(state: State) -> State:
        for key in (f"{name}.weight" for name in first):
            if key in state and key in own and own[key].shape[1] == 1:
                state[key] = state[key].sum(dim=1, keepdim=True)
        return state

    fill_backbone(network, weights, trainable=trainable, heads=heads, convert=sum_colours)


def _names(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())
