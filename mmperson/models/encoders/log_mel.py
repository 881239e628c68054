"""Convolutional networks on the log-mel spectrogram."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from mmperson.config import LogMelConfig
from mmperson.errors import ConfigError
from mmperson.models.encoders.frames import encode_each, fill_image_network, image_network
from mmperson.models.layers.masked import MaskedBatchNorm, mostly_real, pad_end
from mmperson.models.pretrained import BackboneEncoder
from mmperson.models.tokens import Tokens, average_tokens
from mmperson.preprocessing.spec import LogMelSpec

MAX_TOKENS = 16
SMALL = "small"
# Approximate mean and standard deviation of recorded speech in our log-mel spectrograms.
_CENTRE = -9.5
_SPREAD = 4.0
# Spectra per input of an image network, .96 s at 10 ms. Source: Hershey et al. 2017, CNN
# architectures for large-scale audio classification, section 3.
_SEGMENT = 96
_CHANNELS = (32, 64, 128, 256)
_POOLED = (4, 4, 2, 1)  # Spectra that each convolution's output is pooled over.


class LogMelEncoder(BackboneEncoder):
    """A convolutional network on the spectrogram, with at most 16 tokens over time.

    Raises:
        ConfigError: The network is unknown, its weights are missing or do not fit, or ``small`` has
            weights or is frozen.
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
        super().__init__(network, width, config)
        # Derived from the window, not from the input: a short clip must not get finer tokens.
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
            float (batch, token, feature), and their mask; each token averages equally many
            neighbours.
        """
        standard = (x - _CENTRE) / _SPREAD * mask.unsqueeze(-1)
        return average_tokens(self.backbone(standard, mask), self.stride)


class _SmallNetwork(nn.Module):
    """Four convolutions 3x3, pooled to three tokens per second."""

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
    """An image network on segments of about a second, one token each."""

    spectra_per_token = _SEGMENT

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        x = pad_end(x, _SEGMENT).unflatten(1, (-1, _SEGMENT)).unsqueeze(2)
        real = mostly_real(pad_end(mask, _SEGMENT).unflatten(1, (-1, _SEGMENT)))
        return Tokens(encode_each(self.network, x, real, self.network.head_hidden_size), real)
