"""Every number of the preprocessing, in one hashed record that travels with the weights.

Training and inference prepare inputs by the same code from the same record. Caches and bundles
carry ``InputSpec.hash``; a difference is an error, never a silent drift.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


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

    Means over time of librosa's chroma, RMS, spectral centroid, bandwidth, roll-off, zero-crossing
    rate and 20 mel-frequency cepstral coefficients, in that order. The defaults are the settings
    behind the published features of First Impressions V2: a 16-bit stereo file at 44,100 Hz, halved
    in rate and measured by a librosa before version 0.10.

    Attributes:
        kind: Name of the set.
        source_rate_hz: Rate at which sound is read, a multiple of ``sample_rate_hz``.
        sample_rate_hz: Rate that the waveform is resampled to.
        window_s: Only the first seconds count, as in the published features.
        n_fft: Samples per analysis frame.
        hop_length: Samples between frames.
        n_mels: Mel bands under the cepstral coefficients.
        n_mfcc: Number of cepstral coefficients.
        padding: What lies before the start and after the end of the sound. librosa mirrored the
            sound (``reflect``) before version 0.10 and takes zeros (``constant``) since then.
        mono_gain: Factor for recordings with one channel. FFmpeg spreads one channel over two at
            constant power, so that the published features measured those 3 dB lower.
        min_duration_s: Shorter sound counts as absent.
        silence_peak: Sound that never exceeds this, where 1 is full scale, counts as absent. -80 dB
            is three steps of a 16-bit sample, and below every published clip.
    """

    kind: Literal["librosa26"] = "librosa26"
    source_rate_hz: int = Field(44_100, ge=8_000, le=192_000)
    sample_rate_hz: int = Field(22_050, ge=8_000, le=48_000)
    window_s: float = Field(7.0, gt=0, le=600)
    n_fft: int = Field(2048, ge=64, le=16_384)
    hop_length: int = Field(512, ge=16, le=16_384)
    n_mels: int = Field(128, ge=8, le=512)
    n_mfcc: int = Field(20, ge=1, le=128)
    padding: Literal["reflect", "constant"] = "reflect"
    mono_gain: float = Field(0.5**0.5, gt=0, le=1)
    min_duration_s: float = Field(0.1, gt=0, le=600)
    silence_peak: float = Field(1e-4, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source_rate_hz % self.sample_rate_hz:
            raise ValueError(
                f"source_rate_hz ({self.source_rate_hz}) must be a multiple of "
                f"sample_rate_hz ({self.sample_rate_hz})"
            )
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) must not exceed n_mels ({self.n_mels})")
        return self

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

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(self.height, self.width) > self.short_side:
            raise ValueError(
                f"the crop ({self.height} x {self.width}) must fit short_side ({self.short_side})"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, not {self.std}")
        return self


class InputSpec(_Spec):
    """The preprocessing of one network: a part per modality, None where it reads none."""

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
