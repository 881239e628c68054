"""Convolutions on the log-mel spectrogram, a few tokens per second."""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from mmperson.config import LogMelConfig
from mmperson.errors import ConfigError
from mmperson.models.encoders.frames import encode_each, fill_image_network, image_network
from mmperson.models.layers.masked import MaskedBatchNorm, mostly_real, pad_end
from mmperson.models.pretrained import BackboneEncoder
from mmperson.models.tokens import Tokens, average_tokens
from mmperson.preprocessing.spec import LogMelSpec

MAX_TOKENS: Final = 16
SMALL: Final = "small"
# Mean and deviation of recorded speech in the spectrograms of ``preprocessing.audio``, about.
_CENTRE: Final = -9.5
_SPREAD: Final = 4.0
# Spectra that an image network sees at once, .96 s at 10 ms. Source: Hershey et al. 2017, CNN
# architectures for large-scale audio classification, section 3.
_SEGMENT: Final = 96
_CHANNELS: Final = (32, 64, 128, 256)
_POOLED: Final = (4, 4, 2, 1)  # Spectra that each convolution's output is pooled over.


class LogMelEncoder(BackboneEncoder):
    """A convolutional network on the spectrogram; time stays as at most 16 tokens.

    Args:
        config: Network, weights and sizes.
        spec: How sound becomes a spectrogram.
        pretrained: Load the weights; False builds the architecture alone, to be filled by a
            checkpoint.

    Raises:
        ConfigError: There is no such network, its weights are not there or do not fit, or ``small``
            is given weights or frozen.
    """

    def __init__(self, config: LogMelConfig, spec: LogMelSpec, *, pretrained: bool = True) -> None:
        if config.backbone == SMALL:
            if config.weights is not None or not config.trainable:
                raise ConfigError(
                    "The 'small' network is trained from scratch: audio.weights must be null and "
                    f"audio.trainable true, not {config.weights!r} and {config.trainable}."
                )
            network: nn.Module = _SmallNetwork()
            width = _CHANNELS[-1]
        else:
            image = image_network(config.backbone, in_chans=1)
            if pretrained:
                fill_image_network(image, config.weights, trainable=config.trainable)
            network, width = _SegmentNetwork(image), int(image.head_hidden_size)
        super().__init__(
            network,
            feature_dim=width,
            dim=config.dim,
            dropout=config.dropout,
            trainable=config.trainable,
        )
        # Of the window, not of what is given: a shorter tensor must not get finer tokens.
        tokens = -(-spec.shape[0] // network.spectra_per_token)
        self.stride = -(-tokens // MAX_TOKENS)

    @classmethod
    def spec(cls, config: LogMelConfig) -> LogMelSpec:
        """Return the spectrogram of the window."""
        return LogMelSpec(window_s=config.window_s, n_mels=config.mels)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a spectrogram.

        Args:
            x: float (batch, time, mel), natural logarithms of power.
            mask: float (batch, time), 1 where there is sound.

        Returns:
            float (batch, token, feature), and their mask; each token is the mean of equally many
            neighbours.
        """
        standard = (x - _CENTRE) / _SPREAD * mask.unsqueeze(-1)
        return average_tokens(self.backbone(standard, mask), self.stride)


class _SmallNetwork(nn.Module):
    """Four convolutions 3x3, pooled to three tokens a second."""

    spectra_per_token = math.prod(_POOLED)

    def __init__(self) -> None:
        super().__init__()
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels, out in zip((1, *_CHANNELS), _CHANNELS, strict=False):
            self.convolutions.append(nn.Conv2d(channels, out, 3, padding=1, bias=False))
            self.norms.append(MaskedBatchNorm(out))

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        x = pad_end(x, self.spectra_per_token).unsqueeze(1)
        mask = pad_end(mask, self.spectra_per_token)
        for layer, norm, step in zip(self.convolutions, self.norms, _POOLED, strict=True):
            x = norm(layer(x), mask[:, None, :, None]).relu()
            x, mask = functional.max_pool2d(x, (step, 2)), mask[:, ::step]
        return Tokens(x.mean(dim=3).transpose(1, 2), mask)


class _SegmentNetwork(nn.Module):
    """An image network on segments of about a second, a token each."""

    spectra_per_token = _SEGMENT

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        x = pad_end(x, _SEGMENT).unflatten(1, (-1, _SEGMENT)).unsqueeze(2)
        real = mostly_real(pad_end(mask, _SEGMENT).unflatten(1, (-1, _SEGMENT)))
        return Tokens(encode_each(self.network, x, real, self.network.head_hidden_size), real)
