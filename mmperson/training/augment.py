"""Random augmentation of training clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torchaudio.functional as sound
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as picture

from mmperson.config import AugmentConfig
from mmperson.datasets.dataset import Batch
from mmperson.preprocessing.spec import FrameSpec, InputSpec, LogMelSpec, WaveformSpec


def augment(batch: Batch, spec: InputSpec, config: AugmentConfig, random: torch.Generator) -> Batch:
    """Augment the video and audio of a batch; all frames of a clip alike.

    Vectors, text and cached features stay unchanged.

    Args:
        batch: From ``ClipDataset.batch``.
        spec: The preprocessing.
        config: Strength of the augmentation.
        random: Source of randomness.
    """
    batch = dict(batch)
    for name, part in spec.parts.items():
        if part.augmentation is not None and name in batch:
            batch |= _AUGMENTATIONS[part.augmentation](batch, part, config, random)
    return batch


def _frames(batch: Batch, spec: FrameSpec, config: AugmentConfig, random: torch.Generator) -> Batch:
    """Sample frames, and crop, flip and light them."""
    if config.frames is not None:
        batch = _draw_frames(batch, spec, config.frames, random)
    video = torch.stack([_film(clip, config, random) for clip in batch["video"]])
    return {"video": video, "video_mask": batch["video_mask"]}


def _waveforms(
    batch: Batch, spec: WaveformSpec, config: AugmentConfig, random: torch.Generator
) -> Batch:
    """Crop every waveform, change its level and add noise."""
    pairs = zip(batch["audio"], batch["audio_mask"], strict=True)
    changed = [_waveform(x, mask, spec.source_rate_hz, config, random) for x, mask in pairs]
    audio, mask = map(torch.stack, zip(*changed, strict=True))
    longest = max(1, int(mask.sum(dim=1).max()))
    return {"audio": audio[:, :longest], "audio_mask": mask[:, :longest]}


def _log_power(
    batch: Batch, spec: LogMelSpec, config: AugmentConfig, random: torch.Generator
) -> Batch:
    """Change the level of log spectra."""
    gains_db = 2 * torch.rand(len(batch["audio"]), 1, 1, generator=random) - 1
    return {"audio": batch["audio"] + gains_db * config.gain_db * math.log(10) / 10}


def _draw_frames(batch: Batch, spec: FrameSpec, count: int, random: torch.Generator) -> Batch:
    """Sample frames in their order, the same of every view."""
    chosen = torch.randperm(spec.count, generator=random)[:count].sort().values
    chosen = torch.cat([chosen + view * spec.count for view in range(len(spec.views))])
    return {"video": batch["video"][:, chosen], "video_mask": batch["video_mask"][:, chosen]}


def _film(clip: Tensor, config: AugmentConfig, random: torch.Generator) -> Tensor:
    """Crop, flip and light all frames of a clip alike; uint8 (frame, 3, height, width)."""
    share, top, left, mirror, light, contrast = torch.rand(6, generator=random).tolist()
    height, width = clip.shape[-2:]
    side = math.sqrt(config.crop + (1 - config.crop) * share)
    size = [round(side * height), round(side * width)]
    corner = [round(top * (height - size[0])), round(left * (width - size[1]))]
    if size != [height, width]:
        clip = picture.resized_crop(
            clip, *corner, *size, size=[height, width], interpolation=InterpolationMode.BILINEAR
        )
    if mirror < config.flip:
        clip = picture.horizontal_flip(clip)
    if config.light > 0:
        clip = picture.adjust_brightness(clip, 1 + config.light * (2 * light - 1))
        clip = picture.adjust_contrast(clip, 1 + config.light * (2 * contrast - 1))
    return clip


def _waveform(
    x: Tensor, mask: Tensor, rate_hz: int, config: AugmentConfig, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Crop a waveform, float (sample,), change its level and add noise."""
    gain, start = torch.rand(2, generator=random).tolist()
    real = int(mask.sum())
    if config.seconds is not None and real > (length := round(config.seconds * rate_hz)):
        begin = round(start * (real - length))
        part = x[begin : begin + length]
        x, mask = torch.zeros_like(x), torch.zeros_like(mask)
        x[:length], mask[:length], real = part, 1.0, length
    x = sound.gain(x, config.gain_db * (2 * gain - 1))
    if config.noise > 0 and real and (level := x[:real].std()) > 0:
        noise = torch.randn(real, generator=random) * config.noise * level
        x = torch.cat([x[:real] + noise, x[real:]])
    return x, mask


_AUGMENTATIONS: Mapping[str, Callable[..., Batch]] = {
    "frames": _frames,
    "waveform": _waveforms,
    "log_power": _log_power,
}
"""By ``ModalitySpec.augmentation``."""
