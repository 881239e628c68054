"""Which preprocessing the encoders of a recipe need."""

from __future__ import annotations

from pathlib import Path

from mmperson.config import (
    AudioConfig,
    ColumnsConfig,
    DialogueConfig,
    FramesConfig,
    LogMelConfig,
    ProsodyConfig,
    QuestionnaireConfig,
    Recipe,
    ResidualAudioConfig,
    TextConfig,
    VideoConfig,
    VideoNetworkConfig,
    WaveformConfig,
)
from mmperson.models.encoders.text import text_weights_folder
from mmperson.preprocessing.spec import (
    AudioSpec,
    ColumnSpec,
    DescriptorSpec,
    DialogueSpec,
    FrameSpec,
    InputSpec,
    LogMelSpec,
    ProsodySpec,
    TextSpec,
    VideoSpec,
    WaveformSpec,
)
from mmperson.preprocessing.text.encode import load_tokenizer, tokenizer_sha256
from mmperson.preprocessing.text.prompts import PSYCHOLOGY

TOKENIZER_FILE = "tokenizer.json"


def input_spec(recipe: Recipe) -> InputSpec:
    """Return the preprocessing that a recipe's encoders need."""
    return InputSpec(
        video=None if recipe.video is None else _video(recipe.video),
        audio=None if recipe.audio is None else _audio(recipe.audio),
        text=None if recipe.text is None else _text(recipe.text),
    )


def tokenizer_file(config: TextConfig) -> Path:
    """Return the tokenizer that belongs to a text encoder's weights."""
    return text_weights_folder(config.weights) / TOKENIZER_FILE


def _video(config: VideoConfig) -> VideoSpec:
    if isinstance(config, ColumnsConfig):
        return ColumnSpec(columns=config.columns)
    return FrameSpec(
        views=config.views,
        count=config.frames,
        short_side=config.size,
        height=config.size,
        width=config.size,
        **_scale(config),
    )


def _scale(config: VideoConfig) -> dict[str, tuple[float, ...]]:
    """Return the mean and deviation that a network was pretrained with, where it has its own."""
    if isinstance(config, FramesConfig):
        import timm  # Slow to import, and only its list of models is needed.

        known = timm.get_pretrained_cfg(config.backbone, allow_unregistered=False)
    elif isinstance(config, VideoNetworkConfig):
        from torchvision.models import get_model_weights

        known = get_model_weights(config.network).DEFAULT.transforms()
    else:
        known = None
    return {} if known is None else {"mean": tuple(known.mean), "std": tuple(known.std)}


def _audio(config: AudioConfig) -> AudioSpec:
    match config:
        case ColumnsConfig():
            return ColumnSpec(columns=config.columns)
        case ProsodyConfig():
            return ProsodySpec()
        case LogMelConfig():
            return LogMelSpec(window_s=config.window_s, n_mels=config.mels)
        case WaveformConfig() | ResidualAudioConfig():
            return WaveformSpec(window_s=config.window_s)
        case _:
            return DescriptorSpec()


def _text(config: TextConfig) -> TextSpec | DialogueSpec:
    sha256 = tokenizer_sha256(tokenizer_file(config))
    if isinstance(config, DialogueConfig):
        vocabulary = load_tokenizer(tokenizer_file(config)).get_vocab_size()
        return DialogueSpec(
            tokenizer_sha256=sha256, max_tokens=config.max_tokens, marker=vocabulary
        )
    if isinstance(config, QuestionnaireConfig):
        return TextSpec(tokenizer_sha256=sha256, max_tokens=config.max_tokens)
    return TextSpec(
        tokenizer_sha256=sha256,
        max_tokens=config.max_tokens,
        prompts=PSYCHOLOGY if config.prompt == "psychology" else (),
    )
