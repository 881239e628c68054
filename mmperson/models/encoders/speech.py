"""wav2vec 2.0, HuBERT and WavLM from torchaudio and transformers, with masked padding.

Both libraries build the same four parts: convolutions on the waveform, a projection, a positional
convolution, and transformer layers. Their own handling of padding is not used: the first
convolution's normalisation would include the padding.

Source: Baevski et al. 2020, wav2vec 2.0, section 2; Hsu et al. 2021, HuBERT; Chen et al. 2022,
WavLM.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmperson.errors import ConfigError, did_you_mean
from mmperson.models.pretrained import WEIGHTS_FILE, fill_backbone, weights_folder
from mmperson.models.tokens import MASKED, Tokens

FAMILY = ("wav2vec2", "hubert", "wavlm")
SETTINGS_FILE = "config.json"
SCALING_FILE = "preprocessor_config.json"


class TorchaudioSpeech(nn.Module):
    """A speech pipeline of torchaudio, without its download.

    Args:
        name: Name in ``torchaudio.pipelines``.
        layer: Transformer layer whose states are returned; 0 for the network's output.
        weights: See ``fill_backbone``.
        trainable: Whether it will be trained.
        pretrained: Load the weights.

    Attributes:
        dim: Width of a state.

    Raises:
        ConfigError: The pipeline or layer is unknown, or the weights are missing or do not fit.
    """

    def __init__(
        self, name: str, layer: int, weights: str | None, *, trainable: bool, pretrained: bool
    ) -> None:
        super().__init__()
        from torchaudio import pipelines  # Here: slow to import.
        from torchaudio.models import wav2vec2_model, wavlm_model

        bundle = getattr(pipelines, name, None)
        if not isinstance(bundle, pipelines.Wav2Vec2Bundle):
            names = [x for x in dir(pipelines) if x.isupper()]
            raise ConfigError(
                f"torchaudio has no speech pipeline called {name!r}.",
                hint=did_you_mean(name, names),
            )
        # torchaudio has no public access to a pipeline's architecture without its download.
        self.scaled = bundle._normalize_waveform
        self.relative = bundle._model_type == "WavLM"
        network = (wavlm_model if self.relative else wav2vec2_model)(**bundle._params)
        if pretrained:
            fill_backbone(network, weights, trainable=trainable, heads=("aux",))
        self.convolutions = network.feature_extractor.conv_layers
        self.projection = network.encoder.feature_projection
        self.transformer = network.encoder.transformer
        self.dim = self.transformer.layer_norm.normalized_shape[0]
        self.normed_last = layer == 0 and not self.transformer.layer_norm_first
        _keep_layers(self.transformer, layer, name)

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a waveform.

        Args:
            x: float (batch, sample), 16 kHz.
            mask: float (batch, sample), 1 before the end of the sound.

        Returns:
            float (batch, state, dim), one every 20 ms, and their mask.
        """
        if self.scaled:
            x = _standardise(x, mask, 1e-5)
        x, real = _convolve(self.convolutions, x, mask)
        x = self.projection(x) * real.unsqueeze(-1)
        bias = (1.0 - real) * MASKED
        x, position = self.transformer._preprocess(x), None
        # WavLM adds the padding bias to its position bias; the others take a square mask.
        square = None if self.relative else bias[:, None, None].expand(-1, -1, x.shape[1], -1)
        for layer in self.transformer.layers:
            x, position = layer(x, square, position_bias=position, key_padding_mask=bias)
        return Tokens(self.transformer.layer_norm(x) if self.normed_last else x, real)


class TransformersSpeech(nn.Module):
    """A wav2vec 2.0, HuBERT or WavLM model in the layout of Hugging Face.

    Args:
        layer: Transformer layer whose states are returned; 0 for the network's output.
        weights: See ``weights_folder``; its ``config.json`` is always read.
        pretrained: Load the weights.

    Attributes:
        dim: Width of a state.

    Raises:
        ConfigError: The model or layer is missing, of another family, or its weights do not fit.
    """

    def __init__(self, layer: int, weights: str | None, *, pretrained: bool) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        if weights is None:
            raise ConfigError(
                "audio.network is 'transformers', and audio.weights names no model.",
                hint=f"Give a folder with {SETTINGS_FILE}, {SCALING_FILE} and {WEIGHTS_FILE}.",
            )
        files = (SETTINGS_FILE, SCALING_FILE, *([WEIGHTS_FILE] if pretrained else []))
        folder = weights_folder(weights, files)
        shape = AutoConfig.from_pretrained(folder, local_files_only=True)
        if shape.model_type not in FAMILY:
            raise ConfigError(
                f"{weights!r} is a {shape.model_type!r} model; supported are {', '.join(FAMILY)}."
            )
        self.scaled = _reads_scaled(folder / SCALING_FILE)
        if pretrained:
            network, report = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
                dtype=torch.float32,
            )
            # The mask embedding is used in pretraining only.
            missing = [key for key in report["missing_keys"] if key != "masked_spec_embed"]
            if missing or report["mismatched_keys"]:
                raise ConfigError(
                    f"The weights {str(folder)!r} do not fit their {SETTINGS_FILE}: {len(missing)} "
                    f"tensors are missing, {len(report['mismatched_keys'])} have another shape."
                )
        else:
            network = AutoModel.from_config(shape, attn_implementation="eager")
        self.convolutions = network.feature_extractor.conv_layers
        self.projection, self.encoder = network.feature_projection, network.encoder
        self.dim = int(shape.hidden_size)
        _keep_layers(self.encoder, layer, weights)
        if layer > 0 and shape.do_stable_layer_norm:
            self.encoder.layer_norm = nn.Identity()  # It belongs to the network's output.

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a waveform, see ``TorchaudioSpeech.forward``."""
        if self.scaled:
            x = _standardise(x, mask, 1e-7)
        x, real = _convolve(self.convolutions, x, mask)
        projected = self.projection(x)
        x = projected[0] if isinstance(projected, tuple) else projected
        with warnings.catch_warnings():
            # transformers' WavLM passes torch a boolean and a float mask.
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
            return Tokens(self.encoder(x, attention_mask=real > 0).last_hidden_state, real)


def _keep_layers(transformer: nn.Module, layer: int, name: str) -> None:
    """Remove the layers above the one whose states are returned."""
    depth = len(transformer.layers)
    if layer > depth:
        raise ConfigError(f"audio.layer is {layer}; {name!r} has the layers 1 to {depth}.")
    transformer.layers = transformer.layers[: layer or depth]


def _reads_scaled(path: Path) -> bool:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return bool(settings.get("do_normalize", True))
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}.") from error


def _standardise(x: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """Scale each clip's waveform to mean 0 and variance 1; padding stays zero."""
    count = mask.sum(dim=1, keepdim=True).clamp_min(1.0)
    mean = (x * mask).sum(dim=1, keepdim=True) / count
    centred = (x - mean) * mask
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred * (variance + epsilon).rsqrt()


def _convolve(layers: Iterable[nn.Module], x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Waveforms, float (batch, sample), to float (batch, state, channel) and the states' mask."""
    # A state is real if all of its samples are; the first one always is.
    length = mask.sum(dim=1, keepdim=True)
    x = (x * mask).unsqueeze(1)
    real = mask
    for layer in layers:
        conv, norm = layer.conv, getattr(layer, "layer_norm", None)
        width, stride = conv.kernel_size[0], conv.stride[0]
        x = conv(x)
        length = (torch.floor((length - width) / stride) + 1.0).clamp_min(1.0)
        real = (torch.arange(x.shape[-1], device=x.device) < length).to(x.dtype)
        if isinstance(norm, nn.GroupNorm):
            x = _normalise_channels(norm, x, real.unsqueeze(1))
        elif norm is not None:
            x = functional.layer_norm(
                x.transpose(1, 2), norm.normalized_shape, norm.weight, norm.bias, norm.eps
            ).transpose(1, 2)
        x = functional.gelu(x)
    return x.transpose(1, 2), real


def _normalise_channels(norm: nn.GroupNorm, x: Tensor, mask: Tensor) -> Tensor:
    """Group normalisation with a group per channel, over real positions."""
    count = mask.sum(dim=2, keepdim=True)
    mean = (x * mask).sum(dim=2, keepdim=True) / count
    centred = x - mean
    variance = (centred.square() * mask).sum(dim=2, keepdim=True) / count
    scale = norm.weight.unsqueeze(-1) * (variance + norm.eps).rsqrt()
    return centred * scale + norm.bias.unsqueeze(-1)
