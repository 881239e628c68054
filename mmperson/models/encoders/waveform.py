"""Pretrained speech networks on the 16 kHz waveform."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from mmperson.config import WaveformConfig
from mmperson.models.encoders.speech import TorchaudioSpeech, TransformersSpeech
from mmperson.models.encoders.voice import VoiceNetwork
from mmperson.models.pretrained import BackboneEncoder, fill_backbone
from mmperson.models.tokens import Tokens, average_tokens
from mmperson.preprocessing.spec import WaveformSpec

TRANSFORMERS: Final = "transformers"
RESEMBLYZER: Final = "resemblyzer"


class WaveformEncoder(BackboneEncoder):
    """States of a speech network, averaged over short stretches of time.

    Args:
        config: Network, weights, layer and sizes.
        spec: How much sound is read.
        pretrained: Load the weights; False builds the architecture alone, to be filled by a
            checkpoint.

    Raises:
        ConfigError: There is no such network or layer, or its weights are not there or do not fit.
    """

    def __init__(
        self, config: WaveformConfig, spec: WaveformSpec, *, pretrained: bool = True
    ) -> None:
        network = _build(config, pretrained=pretrained)
        super().__init__(
            network,
            feature_dim=network.dim,
            dim=config.dim,
            dropout=config.dropout,
            trainable=config.trainable,
        )
        self.layers, self.stride = (config.layer,), config.stride

    @classmethod
    def spec(cls, config: WaveformConfig) -> WaveformSpec:
        """Return the waveform of the window."""
        return WaveformSpec(window_s=config.window_s)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a waveform.

        Args:
            x: float (batch, sample), 16 kHz.
            mask: float (batch, sample), 1 before the end of the sound.

        Returns:
            float (batch, token, feature), a token for every ``stride`` states, and their mask.
        """
        return average_tokens(self.backbone(x, mask), self.stride)


def _build(config: WaveformConfig, *, pretrained: bool) -> nn.Module:
    """Build a network, and fill it if it is to be pretrained."""
    if config.network == TRANSFORMERS:
        return TransformersSpeech(config.layer, config.weights, pretrained=pretrained)
    if config.network == RESEMBLYZER:
        network = VoiceNetwork()
        if pretrained:
            fill_backbone(network, config.weights, trainable=config.trainable)
        return network
    return TorchaudioSpeech(
        config.network,
        config.layer,
        config.weights,
        trainable=config.trainable,
        pretrained=pretrained,
    )
