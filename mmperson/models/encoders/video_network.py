"""Spatiotemporal networks of torchvision."""

from __future__ import annotations

from torch import Tensor, nn

from mmperson.config import VideoNetworkConfig
from mmperson.errors import ConfigError
from mmperson.models.encoders.frames import NormaliseFrames, frame_spec
from mmperson.models.pretrained import BackboneEncoder, fill_backbone
from mmperson.models.tokens import Tokens, average_tokens
from mmperson.preprocessing.spec import FrameSpec

_MVIT_CLIP = (16, 224, 224)  # Its positions are learned for this size.
_WIDTHS = {"r3d_18": 512, "mvit_v2_s": 768, "swin3d_t": 768}


class VideoNetworkEncoder(BackboneEncoder):
    """A video network's feature map, averaged over space: one token per time step.

    Missing frames have the mean colour.

    Source: Tran et al. 2018, A closer look at spatiotemporal convolutions (r3d_18); Li et al. 2022,
    MViTv2; Liu et al. 2022, Video Swin transformer.

    Raises:
        ConfigError: The weights are missing or do not fit, or clips for mvit_v2_s are not 16 frames
            of 224 x 224 pixels.
    """

    def __init__(
        self, config: VideoNetworkConfig, spec: FrameSpec, *, pretrained: bool = True
    ) -> None:
        network = _build(config.network, spec)
        if pretrained:
            fill_backbone(network, config.weights, trainable=config.trainable, heads=("fc", "head"))
        super().__init__(network, _WIDTHS[config.network], config)
        self.normalise = NormaliseFrames(spec)

    @classmethod
    def spec(cls, config: VideoNetworkConfig) -> FrameSpec:
        """Return frames normalised as the network was pretrained."""
        from torchvision.models import get_model_weights  # Here: it takes a second to import.

        return frame_spec(config, get_model_weights(config.network).DEFAULT.transforms())

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a clip.

        Args:
            x: uint8 (batch, frame, 3, height, width), RGB.
            mask: float (batch, frame), 1 where a frame is real.

        Returns:
            float (batch, token, feature): one token per 8 frames for r3d_18, per 2 for the others.
            A token is real where any of its frames is.
        """
        clip = self.normalise(x) * mask[:, :, None, None, None]
        values = self.backbone(clip.transpose(1, 2)).unflatten(1, (self.feature_dim, -1))
        values = values.transpose(1, 2)
        frames = -(-mask.shape[1] // values.shape[1])
        return Tokens(values, average_tokens(Tokens(mask.unsqueeze(-1), mask), frames).mask)


def _build(name: str, spec: FrameSpec) -> nn.Module:
    """Build a network without its classifier, with random weights."""
    from torchvision.models import video  # Here: torchvision takes a second to import.

    if name == "r3d_18":
        network = video.r3d_18(weights=None)
        network.avgpool, network.fc = _MeanOverPicture(), nn.Identity()
        return network
    if name == "mvit_v2_s":
        if (spec.count, spec.height, spec.width) != _MVIT_CLIP:
            raise ConfigError(
                f"mvit_v2_s reads 16 frames of 224 x 224 pixels, not {spec.count} of "
                f"{spec.height} x {spec.width}.",
                hint="Set video.frames to 16 and video.size to 224, or use swin3d_t.",
            )
        network = video.mvit_v2_s(weights=None)
    else:
        network = video.swin3d_t(weights=None)
    network.head = nn.Identity()
    return network


class _MeanOverPicture(nn.Module):
    """Average over space; float (batch, channel, time, height, width) to (batch, channel, time)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(3, 4))
