"""Pretrained speech networks on the 16 kHz waveform."""

from __future__ import annotations

from torch import Tensor, nn

from mmperson.config import WaveformConfig
from mmperson.models.encoders.speech import TorchaudioSpeech, TransformersSpeech
from mmperson.models.encoders.voice import VoiceNetwork
from mmperson.models.pretrained import BackboneEncoder, fill_backbone
from mmperson.models.tokens import Tokens, average_tokens
from mmperson.preprocessing.spec import WaveformSpec


class WaveformEncoder(BackboneEncoder):
    """States of a speech network, averaged over ``stride`` states.

    Raises:
        ConfigError: The network or layer is unknown, or its weights are missing or do not fit.
    """

    def __init__(
        self, config: WaveformConfig, spec: WaveformSpec, *, pretrained: bool = True
    ) -> None:
        network = _build(config, pretrained=pretrained)
        super().__init__(network, network.dim, config)
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
            float (batch, token, feature), one token per ``stride`` states, and their mask.
        """
        return average_tokens(self.backbone(x, mask), self.stride)


def _build(config: WaveformConfig, *, pretrained: bool) -> nn.Module:
    weights, trainable = config.weights, config.trainable
    if config.network == "transformers":
        return TransformersSpeech(config.layer, weights, pretrained=pretrained)
    if config.network == "resemblyzer":
        network = VoiceNetwork()
        if pretrained:
            fill_backbone(network, weights, trainable=trainable)
        return network
    return TorchaudioSpeech(
        config.network, config.layer, weights, trainable=trainable, pretrained=pretrained
    )
