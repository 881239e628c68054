"""Every number of the preprocessing, in one hashed record that travels with the weights.

Training and inference prepare inputs by the same code from the same record. Caches and bundles
carry ``InputSpec.hash``; a difference is an error, never a silent drift.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextSpec(_Spec):
    """How a transcript becomes token ids.

    Attributes:
        tokenizer_sha256: Hash of the ``tokenizer.json`` that the ids belong to.
        max_tokens: Longest sequence, special tokens included; later words are cut.
        prompts: Instructions that the transcript is wrapped in, one sequence each; none gives the
            transcript alone.
    """

    tokenizer_sha256: str
    max_tokens: int = Field(128, ge=8, le=8192)
    prompts: tuple[str, ...] = ()


class DialogueSpec(TextSpec):
    """How a transcript becomes the token ids of utterances, one behind the other.

    Attributes:
        marker: Id that begins an utterance of the person who is judged, beyond the vocabulary; the
            next id begins an utterance of somebody else.
    """

    marker: int = Field(ge=1)


class _SoundSpec(_Spec):
    """What every reader of sound needs.

    Attributes:
        source_rate_hz: Rate at which sound is read.
        window_s: Only the first seconds count.
        min_duration_s: Shorter sound counts as absent.
        silence_peak: Sound that never exceeds this, where 1 is full scale, counts as absent. -80 dB
            is three steps of a 16-bit sample, and below every published clip.
    """

    source_rate_hz: int = Field(16_000, ge=8_000, le=192_000)
    window_s: float = Field(10.0, gt=0, le=600)
    min_duration_s: float = Field(0.1, gt=0, le=600)
    silence_peak: float = Field(1e-4, ge=0, lt=1)


class DescriptorSpec(_SoundSpec):
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
    def shape(self) -> tuple[int, ...]:
        """(descriptor,)."""
        return (6 + self.n_mfcc,)


class ProsodySpec(_SoundSpec):
    """How a waveform becomes cues of pitch, energy, voice quality, rate and pauses.

    Attributes:
        kind: Name of the set.
        window_s: Only the first seconds count: long enough for pauses and phrases.
        features: Number of cues.
    """

    kind: Literal["prosody"] = "prosody"
    window_s: float = Field(60.0, gt=0, le=600)
    features: Literal[21] = 21

    @property
    def shape(self) -> tuple[int, ...]:
        """(feature,)."""
        return (self.features,)


class LogMelSpec(_SoundSpec):
    """How a waveform becomes a log-mel spectrogram.

    Attributes:
        kind: Name of the representation.
        window_length: Samples of the analysis window, 25 ms.
        n_fft: Samples per analysis frame, the window in their middle.
        hop_length: Samples between frames, 10 ms.
        n_mels: Mel bands.
    """

    kind: Literal["log_mel"] = "log_mel"
    window_length: int = Field(400, ge=16, le=16_384)
    n_fft: int = Field(512, ge=64, le=16_384)
    hop_length: int = Field(160, ge=16, le=16_384)
    n_mels: int = Field(64, ge=8, le=512)

    @property
    def shape(self) -> tuple[int, ...]:
        """(time, mel)."""
        return (1 + round(self.window_s * self.source_rate_hz) // self.hop_length, self.n_mels)


class WaveformSpec(_SoundSpec):
    """The waveform itself.

    Attributes:
        kind: Name of the representation.
    """

    kind: Literal["waveform"] = "waveform"

    @property
    def shape(self) -> tuple[int, ...]:
        """(sample,)."""
        return (round(self.window_s * self.source_rate_hz),)


class ColumnSpec(_Spec):
    """Feature columns of a manifest; no clip has them.

    Attributes:
        kind: Name of the representation.
        columns: Their names.
    """

    kind: Literal["columns"] = "columns"
    columns: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(column,)."""
        return (len(self.columns),)


class FrameSpec(_Spec):
    """How a video becomes a stack of frames.

    Attributes:
        kind: Name of the representation.
        views: What is seen of each frame: ``scene`` is its middle, ``face`` the aligned face of the
            speaker, ``motion`` how much each pixel of the scene differs in the next frame. The
            stack holds all frames of the first view, then those of the next.
        count: Frames per clip, spread evenly over its length.
        short_side: Pixels that the shorter side is resized to.
        height: Pixels of the centre crop.
        width: Pixels of the centre crop.
        mean: Channel means (red, green, blue) on the [0, 1] scale, which the network takes away.
        std: Channel standard deviations on the [0, 1] scale, which it divides by.
    """

    kind: Literal["frames"] = "frames"
    views: tuple[Literal["scene", "face", "motion"], ...] = Field(
        ("scene",), min_length=1, max_length=3
    )
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

    @property
    def shape(self) -> tuple[int, ...]:
        """(frame, 3, height, width)."""
        return (len(self.views) * self.count, 3, self.height, self.width)


SoundSpec = DescriptorSpec | ProsodySpec | LogMelSpec | WaveformSpec
VideoSpec = Annotated[FrameSpec | ColumnSpec, Field(discriminator="kind")]
AudioSpec = Annotated[SoundSpec | ColumnSpec, Field(discriminator="kind")]


class InputSpec(_Spec):
    """The preprocessing of one network: a part per modality, None where it reads none."""

    video: VideoSpec | None = None
    audio: AudioSpec | None = None
    text: TextSpec | DialogueSpec | None = None

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the canonical JSON form, as 64 hex digits."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that are read, in the order video, audio, text."""
        return tuple(name for name in ("video", "audio", "text") if getattr(self, name) is not None)

    def subset(self, modalities: Collection[str]) -> InputSpec:
        """Return the spec of some modalities alone."""
        return InputSpec(**{name: getattr(self, name) for name in modalities})

    def read_options(self) -> dict[str, Any]:
        """Return the arguments of ``read_clip`` that decode what is read, and nothing else."""
        from mmperson.media.audio import AudioWindow  # Here, because it loads FFmpeg.

        window = None
        if self.audio is not None and not isinstance(self.audio, ColumnSpec):
            window = AudioWindow(self.audio.source_rate_hz, duration_s=self.audio.window_s)
        frames = self.video.count if isinstance(self.video, FrameSpec) else 0
        return {"frames": frames, "audio": window}
