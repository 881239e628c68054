"""Every number of the preprocessing, in one hashed record that travels with the weights.

Training and inference prepare inputs by the same code from the same record. Caches and bundles carry
``InputSpec.hash``; a difference is an error, never a silent drift.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TextSpec(_Spec):
    """How a transcript becomes token ids.

    Attributes:
        tokenizer_sha256: Hash of the ``tokenizer.json`` that the ids belong to.
        max_tokens: Longest sequence, special tokens included; later words are cut.
    """

    tokenizer_sha256: str
    max_tokens: int = Field(128, ge=8, le=8192)


class DescriptorSpec(_Spec):
    """How a waveform becomes 26 clip-level acoustic descriptors.

    Means over time of librosa's chroma, RMS, spectral centroid, bandwidth, roll-off, zero-crossing rate
    and 20 mel-frequency cepstral coefficients, in that order, with librosa's default settings.

    Attributes:
        kind: Name of the set.
        sample_rate_hz: Rate that the waveform is resampled to.
        window_s: Only the first seconds count, as in the published features of First Impressions V2.
        n_fft: Samples per analysis frame.
        hop_length: Samples between frames.
        n_mels: Mel bands under the cepstral coefficients.
        n_mfcc: Number of cepstral coefficients.
    """

    kind: Literal["librosa26"] = "librosa26"
    sample_rate_hz: int = Field(22_050, ge=8_000, le=48_000)
    window_s: float = Field(7.0, gt=0, le=600)
    n_fft: int = Field(2048, ge=64, le=16_384)
    hop_length: int = Field(512, ge=16, le=16_384)
    n_mels: int = Field(128, ge=8, le=512)
    n_mfcc: int = Field(20, ge=1, le=128)

    @property
    def size(self) -> int:
        """Number of descriptors."""
        return 6 + self.n_mfcc


class FrameSpec(_Spec):
    """How a video becomes a stack of normalised frames.

    Attributes:
        count: Frames per clip, spread evenly over its length.
        short_side: Pixels that the shorter side is resized to.
        height: Pixels of the centre crop.
        width: Pixels of the centre crop.
        mean: Channel means (red, green, blue) on the [0, 1] scale.
        std: Channel standard deviations on the [0, 1] scale.
    """

    count: int = Field(16, ge=1, le=1024)
    short_side: int = Field(256, ge=16, le=2048)
    height: int = Field(224, ge=16, le=2048)
    width: int = Field(224, ge=16, le=2048)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class InputSpec(_Spec):
    """The preprocessing of one network: a part per modality that it reads, None where it reads none."""

    video: FrameSpec | None = None
    audio: DescriptorSpec | None = None
    text: TextSpec | None = None

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the canonical JSON form, as 64 hex digits."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that are read, in the order video, audio, text."""
        return tuple(name for name in ("video", "audio", "text") if getattr(self, name) is not None)
