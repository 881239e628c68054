"""Export-only modules: the network's halves with plain tensors in and out.

The keys of ``Part.inputs`` are the input names of the graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmperson.inputs.batch import collate
from mmperson.inputs.clip import ClipInputs
from mmperson.inputs.spec import InputSpec
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.network import PersonalityNetwork
from mmperson.models.tokens import Tokens


class EncoderGraph(nn.Module):
    """A modality's array and mask → ``<name>_tokens`` float (batch, token, dim), and their mask."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one modality."""
        return tuple(self.encoder(x, mask))


class FusionGraph(nn.Module):
    """``present``, then tokens and mask of every modality that is read → ``scores``.

    Presence is float (batch, 3), the scores are float (batch, target).
    """

    def __init__(self, network: PersonalityNetwork) -> None:
        super().__init__()
        self.network = network
        self.names = list(network.encoders)

    def forward(self, present: Tensor, *tokens: Tensor) -> Tensor:
        """Fuse the tokens that the network reads."""
        pairs = zip(tokens[::2], tokens[1::2], strict=True)
        named = {name: Tokens(*pair) for name, pair in zip(self.names, pairs, strict=True)}
        return self.network.fuse(named, present)


@dataclass(frozen=True)
class Part:
    """A graph to be exported.

    Attributes:
        module: What it computes.
        inputs: Example inputs by name, in the order of its arguments.
        dynamic: Axes that may vary, by input name.
        outputs: Names of its outputs.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    outputs: tuple[str, ...]


def parts(network: PersonalityNetwork, spec: InputSpec) -> dict[str, Part]:
    """Return the graphs of a network by name: an encoder per modality, and the fusion.

    Args:
        network: The network, in evaluation mode.
        spec: The preprocessing that it reads.
    """
    batch = 2
    # Axes of size one are taken for fixed, so that averages of tokens must be several too.
    stride = getattr(network.encoders["text"], "stride", 1) if "text" in network.encoders else 1
    tokens = 3 * stride + 4
    found: dict[str, Part] = {}
    fused: dict[str, Tensor] = {"present": torch.ones(batch, 3)}
    axes: dict[str, dict[int, str]] = {"present": {0: "batch"}}
    example = {
        name: torch.from_numpy(array)
        for name, array in collate([_example(spec, tokens)] * batch, spec).items()
    }
    for name, encoder in network.encoders.items():
        inputs = {key: example[key] for key in (name, f"{name}_mask")}
        varying = {key: {0: "batch"} for key in inputs}
        if name == "text":
            varying = {key: {0: "batch", x.ndim - 1: "token"} for key, x in inputs.items()}
        outputs = (f"{name}_tokens", f"{name}_tokens_mask")
        found[f"encoder_{name}"] = Part(EncoderGraph(encoder), inputs, varying, outputs)
        with torch.inference_mode():
            said = encoder(*inputs.values())
        varies = name == "text" and not (spec.text is not None and spec.text.prompts)
        for key, value in zip(outputs, said, strict=True):
            fused[key] = value.clone()
            axes[key] = {0: "batch", 1: "token"} if varies else {0: "batch"}
    found["fusion"] = Part(FusionGraph(network), fused, axes, ("scores",))
    return found


def _example(spec: InputSpec, tokens: int) -> ClipInputs:
    """A clip of zeros that has everything that is read."""
    shapes = {name: getattr(spec, name).shape for name in spec.modalities if name != "text"}
    arrays = {name: torch.zeros(shape).numpy() for name, shape in shapes.items()}
    if spec.text is not None:
        prompts = [len(spec.text.prompts)] if spec.text.prompts else []
        arrays["text"] = torch.full([*prompts, tokens], 100).numpy()
    return ClipInputs(**arrays)
