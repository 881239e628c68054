"""Export-only modules: the network's halves with plain tensors in and out.

The keys of ``example_inputs`` are the input names of the graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmperson.models.network import PersonalityNetwork
from mmperson.models.tokens import Tokens


class TextEncoderGraph(nn.Module):
    """input_ids, attention_mask, int64 (batch, token) → text_tokens, float (batch, token, dim)."""

    def __init__(self, network: PersonalityNetwork) -> None:
        super().__init__()
        self.encoder = network.encoders["text"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode token ids."""
        return self.encoder(input_ids, attention_mask).values


class AudioEncoderGraph(nn.Module):
    """descriptors, float (batch, descriptor) → audio_tokens, float (batch, token, dim)."""

    def __init__(self, network: PersonalityNetwork) -> None:
        super().__init__()
        self.encoder = network.encoders["audio"]

    def forward(self, descriptors: Tensor) -> Tensor:
        """Encode descriptors."""
        return self.encoder(descriptors).values


class FusionGraph(nn.Module):
    """Tokens of every modality that is read and present, float (batch, 3) → scores.

    Audio tokens are all real; text tokens have a mask, float (batch, token). The scores are float
    (batch, trait).
    """

    def __init__(self, network: PersonalityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        present: Tensor,
        audio_tokens: Tensor | None = None,
        text_tokens: Tensor | None = None,
        text_mask: Tensor | None = None,
    ) -> Tensor:
        """Fuse the tokens that the network reads."""
        tokens = {}
        if audio_tokens is not None:
            tokens["audio"] = Tokens(audio_tokens, torch.ones_like(audio_tokens[..., 0]))
        if text_tokens is not None and text_mask is not None:
            tokens["text"] = Tokens(text_tokens, text_mask)
        return self.network.fuse(tokens, present)


@dataclass(frozen=True)
class Part:
    """A graph to be exported.

    Attributes:
        module: What it computes.
        inputs: Example inputs by name.
        dynamic: Axes that may vary, by input name.
        output: Name of its output.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    output: str


def parts(network: PersonalityNetwork) -> dict[str, Part]:
    """Return the graphs of a network by name: an encoder per modality, and the fusion."""
    batch, token = 2, 7
    found: dict[str, Part] = {}
    fused: dict[str, Tensor] = {"present": torch.ones(batch, 3)}
    axes: dict[str, dict[int, str]] = {"present": {0: "batch"}}
    if "audio" in network.encoders:
        encoder = network.encoders["audio"]
        heard = {"descriptors": torch.zeros(batch, encoder.mean.shape[0])}
        found["encoder_audio"] = Part(
            AudioEncoderGraph(network), heard, {"descriptors": {0: "batch"}}, "audio_tokens"
        )
        fused["audio_tokens"] = encoder(**heard).values.detach()
        axes["audio_tokens"] = {0: "batch"}
    if "text" in network.encoders:
        # Two tensors: the exporter takes one tensor given twice for one input.
        ids = torch.full((batch, token), 100)
        read = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        both = {0: "batch", 1: "token"}
        found["encoder_text"] = Part(
            TextEncoderGraph(network), read, dict.fromkeys(read, both), "text_tokens"
        )
        fused["text_tokens"] = network.encoders["text"](**read).values.detach()
        fused["text_mask"] = torch.ones(batch, token)
        axes |= {"text_tokens": both, "text_mask": both}
    found["fusion"] = Part(FusionGraph(network), fused, axes, "scores")
    return found
