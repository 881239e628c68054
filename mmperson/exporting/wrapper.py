"""Export-only modules: the network's parts with tensors as inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmperson.models.encoders.encoder import Encoder
from mmperson.models.network import PersonalityNetwork
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.collate import VIDEO_SHOWN, collate
from mmperson.preprocessing.spec import InputSpec


class EncoderGraph(nn.Module):
    """A modality's array and mask to ``<name>_tokens`` float (batch, token, dim) and their mask."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one modality."""
        return tuple(self.encoder(x, mask))


class FramesGraph(nn.Module):
    """Unique frames, the index of each frame among them, and the frames' mask to tokens and mask.

    See ``preprocessing.collate.deduplicate_frames``.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, shown: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every unique frame once."""
        all_real = torch.ones_like(x[:, :, 0, 0, 0], dtype=mask.dtype)
        unique = self.encoder.features(x, all_real).values
        features = unique.gather(1, shown.unsqueeze(-1).expand(-1, -1, unique.shape[2]))
        values, real = self.encoder.adapt(Tokens(features, mask))
        return values, real


class FusionGraph(nn.Module):
    """``present`` float (batch, 3), then tokens and mask by modality, to ``scores``."""

    def __init__(self, network: PersonalityNetwork) -> None:
        super().__init__()
        self.network = network
        self.names = list(network.encoders)

    def forward(self, present: Tensor, *tokens: Tensor) -> Tensor:
        """Fuse and score; float (batch, target)."""
        pairs = zip(tokens[::2], tokens[1::2], strict=True)
        named = {name: Tokens(*pair) for name, pair in zip(self.names, pairs, strict=True)}
        return self.network.fuse(named, present)


@dataclass(frozen=True)
class Part:
    """A module to be exported as one graph.

    Attributes:
        module: The module.
        inputs: Example inputs by name of the graph's input, in the order of the arguments.
        dynamic: Names of dynamic axes, by input name.
        outputs: Names of the graph's outputs.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    outputs: tuple[str, ...]


def parts(network: PersonalityNetwork, spec: InputSpec) -> dict[str, Part]:
    """Return the graphs of a network by name: an encoder per modality, and the fusion.

    Args:
        network: The network, in evaluation mode.
        spec: Its preprocessing.
    """
    batch = 2
    # torch treats axes of size one as static, so there must be several averaged tokens too.
    stride = getattr(network.encoders["text"], "stride", 1) if "text" in network.encoders else 1
    tokens = 3 * stride + 4
    graphs: dict[str, Part] = {}
    fused: dict[str, Tensor] = {"present": torch.ones(batch, 3)}
    axes: dict[str, dict[int, str]] = {"present": {0: "batch"}}
    example = {
        name: torch.from_numpy(array)
        for name, array in collate([_example(spec, tokens)] * batch, spec).items()
    }
    for name, encoder in network.encoders.items():
        part = encoder_part(name, encoder, example)
        graphs[f"encoder_{name}"] = part
        with torch.inference_mode():
            encoded = part.module(*part.inputs.values())
        varies = name == "text" and not (spec.text is not None and spec.text.prompts)
        for key, value in zip(part.outputs, encoded, strict=True):
            fused[key] = value.clone()
            axes[key] = {0: "batch", 1: "token"} if varies else {0: "batch"}
    graphs["fusion"] = Part(FusionGraph(network), fused, axes, ("scores",))
    return graphs


def encoder_part(name: str, encoder: Encoder, example: dict[str, Tensor]) -> Part:
    """Return the graph of an encoder.

    Args:
        name: Its modality.
        encoder: The encoder, in evaluation mode.
        example: ``collate`` of two clips.
    """
    array, mask = name, f"{name}_mask"
    outputs = (f"{name}_tokens", f"{name}_tokens_mask")
    inputs = {array: example[array], mask: example[mask]}
    varying = {key: {0: "batch"} for key in inputs}
    if encoder.framewise:
        # Not one picture, which torch treats as static, nor as many as clips in the batch.
        pictures = torch.cat([example[array][:, :1]] * 3, dim=1)
        shown = torch.zeros_like(example[mask], dtype=torch.int64)
        inputs = {array: pictures, VIDEO_SHOWN: shown, mask: example[mask]}
        varying |= {array: {0: "batch", 1: "picture"}, VIDEO_SHOWN: {0: "batch"}}
        return Part(FramesGraph(encoder), inputs, varying, outputs)
    if name == "text":
        varying = {key: {0: "batch", x.ndim - 1: "token"} for key, x in inputs.items()}
    return Part(EncoderGraph(encoder), inputs, varying, outputs)


def _example(spec: InputSpec, tokens: int) -> ClipInputs:
    """A clip of zeros with all modalities."""
    shapes = {name: getattr(spec, name).shape for name in spec.modalities if name != "text"}
    arrays = {name: torch.zeros(shape).numpy() for name, shape in shapes.items()}
    if spec.text is not None:
        prompts = [len(spec.text.prompts)] if spec.text.prompts else []
        arrays["text"] = torch.full([*prompts, tokens], 100).numpy()
    return ClipInputs(**arrays)
