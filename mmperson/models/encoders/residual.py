"""The two streams of Deep Impression: 17-layer residual networks on frames and waveform.

Source: Güçlütürk et al. 2016, Deep Impression: audiovisual deep residual networks for multimodal
apparent personality trait recognition, its architecture; after He et al. 2016, Deep residual
learning, with projections where a stage begins.
"""

from __future__ import annotations

from torch import Tensor, nn

from mmperson.config import ResidualAudioConfig, ResidualVideoConfig
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.encoders.frames import NormaliseFrames, encode_each, frame_spec
from mmperson.models.layers.masked import MaskedBatchNorm
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.spec import FrameSpec, WaveformSpec

_CHANNELS = (32, 64, 128, 256)
_BLOCKS = 2  # Per stage.


class ResidualVideoEncoder(Encoder):
    """The visual stream: one token per frame."""

    framewise = True

    def __init__(
        self, config: ResidualVideoConfig, spec: FrameSpec, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.dim = _CHANNELS[-1]
        self.normalise = NormaliseFrames(spec)
        self.body = nn.Sequential(
            nn.Conv2d(3, _CHANNELS[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(_CHANNELS[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            *(_PictureBlock(*sizes) for sizes in _stages(2)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    @classmethod
    def spec(cls, config: ResidualVideoConfig) -> FrameSpec:
        """Return whole frames."""
        return frame_spec(config)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode every frame.

        Args:
            x: uint8 (batch, frame, 3, height, width), RGB.
            mask: float (batch, frame), 1 where a frame is real.

        Returns:
            float (batch, frame, 256), and the mask.
        """
        return Tokens(encode_each(self.body, self.normalise(x), mask, self.dim), mask)


class ResidualAudioEncoder(Encoder):
    """The auditory stream, the same in one dimension: one token per clip.

    Padding stays zero in every layer, so the length of the window does not change the token.
    """

    def __init__(
        self, config: ResidualAudioConfig, spec: WaveformSpec, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.dim = _CHANNELS[-1]
        self.stem = nn.Conv1d(1, _CHANNELS[0], 49, stride=4, padding=24, bias=False)
        self.norm = MaskedBatchNorm(_CHANNELS[0])
        self.pool = nn.MaxPool1d(9, stride=4, padding=4)
        self.blocks = nn.ModuleList(_SoundBlock(*sizes) for sizes in _stages(4))

    @classmethod
    def spec(cls, config: ResidualAudioConfig) -> WaveformSpec:
        """Return the waveform of the window."""
        return WaveformSpec(window_s=config.window_s)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a waveform.

        Args:
            x: float (batch, sample), 16 kHz.
            mask: float (batch, sample), 1 before the end of the sound.

        Returns:
            float (batch, 1, 256), the mean over time; always real.
        """
        # A strided layer keeps the mask of the first position of each stride.
        real = mask.unsqueeze(1)[..., ::4]
        x = self.norm(self.stem((x * mask).unsqueeze(1)), real).relu()
        x, real = self.pool(x), real[..., ::4]
        x = x * real
        for block in self.blocks:
            x, real = block(x, real)
        mean = x.sum(dim=2) / real.sum(dim=2).clamp_min(1.0)
        return Tokens(mean.unsqueeze(1), mask[:, :1] * 0.0 + 1.0)


class _PictureBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.around: nn.Module = nn.Identity()
        if channels != out:
            self.around = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return (self.around(x) + self.body(x)).relu()


class _SoundBlock(nn.Module):
    """Two convolutions of width 9 and a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv1d(channels, out, 9, stride=stride, padding=4, bias=False)
        self.first_norm = MaskedBatchNorm(out)
        self.second = nn.Conv1d(out, out, 9, padding=4, bias=False)
        self.second_norm = MaskedBatchNorm(out)
        self.widens = channels != out
        if self.widens:
            self.around = nn.Conv1d(channels, out, 1, stride=stride, bias=False)
            self.around_norm = MaskedBatchNorm(out)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        mask = mask[..., :: self.stride]
        residual = self.first_norm(self.first(x), mask).relu()
        residual = self.second_norm(self.second(residual), mask)
        shortcut = self.around_norm(self.around(x), mask) if self.widens else x
        return (shortcut + residual).relu(), mask


def _stages(stride: int) -> list[tuple[int, int, int]]:
    """Input channels, output channels and stride of every block; the first stage keeps its size."""
    blocks, channels = [], _CHANNELS[0]
    for out in _CHANNELS:
        for _ in range(_BLOCKS):
            blocks.append((channels, out, 1 if channels == out else stride))
            channels = out
    return blocks
