"""Data, augmentation, loss, teacher, optimizer and run settings of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mmperson.config.section import Section
from mmperson.traits import TRAITS


class DataConfig(Section):
    """Training and selection rows.

    Attributes:
        manifest: Parquet file of ``mmperson data import``.
        train_split: Split to train on.
        folds: Number of source-disjoint folds of the training split, for ``held_out`` or an
            ensemble.
        held_out: Fold of the training split to hold out and select on; None trains on all rows.
        select_split: Split to select on instead; None without ``held_out`` keeps the last epoch.
        ensemble: Train one network per held-out fold, and average their scores.
        targets: The five traits, optionally followed by extra columns of the manifest.
        groups: Extra column of the manifest to rank clips within, such as the interview question.
        labels: Transform of the targets for training, inverted for scores. ``robust`` divides by
            the interquartile range; ``rank`` and ``yeo_johnson`` make them approximately normal.
    """

    manifest: Path
    train_split: str = "train"
    folds: int = Field(5, ge=2, le=50)
    held_out: int | None = Field(None, ge=0)
    select_split: Literal["validation"] | None = None
    ensemble: bool = False
    targets: tuple[str, ...] = Field(TRAITS, min_length=1, max_length=64)
    groups: str | None = None
    labels: Literal["none", "robust", "rank", "yeo_johnson"] = "none"

    @property
    def selects(self) -> bool:
        """Whether there are rows to select on."""
        return self.ensemble or self.held_out is not None or self.select_split is not None

    @model_validator(mode="after")
    def _one_selection(self) -> DataConfig:
        if self.targets[: len(TRAITS)] != TRAITS:
            raise ValueError(f"targets must begin with {', '.join(TRAITS)}")
        if self.held_out is not None and self.select_split is not None:
            raise ValueError("set held_out or select_split, not both")
        if self.ensemble and (self.held_out is not None or self.select_split is not None):
            raise ValueError("an ensemble holds out each fold in turn: set held_out and "
                             "select_split to null")  # fmt: skip
        if self.held_out is not None and self.held_out >= self.folds:
            raise ValueError(f"held_out must be below folds ({self.folds})")
        return self


class AugmentConfig(Section):
    """Random augmentation of training clips, per epoch.

    Attributes:
        flip: Probability of mirroring a clip.
        crop: Smallest share of the frame in a random crop; 1 for no crop.
        light: Largest relative change of brightness and contrast.
        frames: Number of frames to sample from those of the clip; None for all.
        gain_db: Largest change of the audio level, in decibels.
        noise: Noise on the audio, relative to its standard deviation.
        seconds: Length of a random audio crop; None for all.
    """

    flip: float = Field(0.5, ge=0, le=1)
    crop: float = Field(0.8, gt=0, le=1)
    light: float = Field(0.2, ge=0, lt=1)
    frames: int | None = Field(None, ge=1)
    gain_db: float = Field(3.0, ge=0, le=40)
    noise: float = Field(0.01, ge=0, le=1)
    seconds: float | None = Field(None, gt=0)


class LossConfig(Section):
    """The loss.

    Attributes:
        name: Registered loss.
        beta: Width of the quadratic zone of ``smooth_l1`` and ``huber``, and unit of the ranking
            loss; in units of the transformed labels.
        soft_weight: Share of the teacher's scores in the target, 0 to 1.
        ranking_weight: Weight of the pairwise logistic ranking loss within ``data.groups``.
        spread_weight: Weight of the squared difference between the batch standard deviations of
            scores and targets.
        target_weights: Weight of each target; None for equal weights.
    """

    name: Literal["smooth_l1", "mse", "mae", "huber", "ccc"] = "smooth_l1"
    beta: float = Field(0.1, gt=0)
    soft_weight: float = Field(0.0, ge=0, le=1)
    ranking_weight: float = Field(0.0, ge=0)
    spread_weight: float = Field(0.0, ge=0)
    target_weights: tuple[float, ...] | None = None

    @property
    def compares(self) -> bool:
        """Whether the loss compares clips of a batch, which then cannot be split."""
        return self.name == "ccc" or self.ranking_weight > 0 or self.spread_weight > 0

    @model_validator(mode="after")
    def _weighs_something(self) -> LossConfig:
        weights = self.target_weights
        if weights is not None and (min(weights, default=0) < 0 or sum(weights) <= 0):
            raise ValueError("target_weights must be 0 or more, and not all 0")
        return self


class TeacherConfig(Section):
    """A Gaussian process on clip-level features, which is distilled into the network.

    Attributes:
        steps: Gradient steps on the kernel's hyper-parameters.
        sources: Source videos sampled per step.
        unseen_weight: Share of the leave-one-source-out error in the objective; the rest is the
            leave-one-clip-out error.
        mixed: Share of the rows per epoch whose audio is mixed with that of a similar clip.
        swapped: Share of the rows per epoch that get the audio of a random clip.
        jitter: Noise on changed audio, in standard deviations of the descriptors.
    """

    steps: int = Field(60, ge=0)
    sources: int = Field(500, ge=2)
    unseen_weight: float = Field(0.6, ge=0, le=1)
    mixed: float = Field(0.25, ge=0, le=1)
    swapped: float = Field(0.2, ge=0, le=1)
    jitter: float = Field(0.1, ge=0)


class OptimConfig(Section):
    """AdamW, its schedule and the length of the training.

    Attributes:
        lr: Peak learning rate.
        encoder_lr: Peak learning rate of pretrained encoders.
        weight_decay: Decoupled weight decay, not applied to biases and norms.
        epochs: Number of epochs.
        batch_size: Clips per step, over all processes.
        accumulate: Gradient accumulation: number of parts of a step, with the same result.
        schedule: ``cosine`` decays to zero at the last step; ``plateau`` decays by a fifth when the
            selection metric stops improving.
        warmup: Share of the steps for linear warm-up.
        clip_norm: Largest gradient norm.
        ema_decay: Decay of the moving average of the weights; None for no average.
        patience: Epochs without improvement before early stopping; None for no early stopping.
        precision: ``fp32``, or ``bf16`` autocast.
    """

    lr: float = Field(1e-3, gt=0)
    encoder_lr: float = Field(4e-5, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1)
    accumulate: int = Field(1, ge=1)
    schedule: Literal["cosine", "plateau"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    patience: int | None = Field(None, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"


class RunConfig(Section):
    """Settings of the run.

    Attributes:
        select_metric: Metric on the selection rows that selects the best epoch; ``last`` keeps the
            last epoch, without selection.
        checkpoint_steps: Steps between checkpoints; every epoch also ends with one.
        threads: CPU threads; None for torch's default.
        device: ``cpu`` or ``cuda``.
        workers: Data loading processes; 0 loads in the training process.
        cache: Folder of decoded and encoded clips, which several runs can share; None for the run
            folder.
        online: Whether pretrained weights may be downloaded from the hub.
    """

    select_metric: Literal["accuracy", "r2", "pcc", "ccc", "last"] = "r2"
    checkpoint_steps: int = Field(200, ge=1)
    threads: int | None = Field(None, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int = Field(0, ge=0, le=256)
    cache: Path | None = None
    online: bool = False
