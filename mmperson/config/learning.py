"""What a recipe learns from and how: data, loss, optimiser, augmentation, run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mmperson.config.section import Section
from mmperson.traits import TRAITS


class DataConfig(Section):
    """Which rows are trained on, and which choose the best epoch.

    Attributes:
        manifest: Parquet file made by ``mmperson data import``.
        train_split: Split that is trained on.
        folds: Source-disjoint folds that the training split is cut into when ``held_out`` is given,
            or for an ensemble.
        held_out: Fold of the training split that is left out and selected on; None trains on all
            rows.
        select_split: Split to select on instead, never the test split; None with no ``held_out``
            keeps the last epoch.
        ensemble: Train a network for every fold, each with this fold held out; their mean scores.
        targets: What is learned: the five traits, or they and extra columns of the manifest.
        groups: Extra column of the manifest within which clips are ranked, such as the question
            that they answer.
        labels: How targets are warped for training; scores are warped back. ``robust`` divides by
            the interquartile range, ``rank`` and ``yeo_johnson`` make them about normal.
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
            raise ValueError("give held_out or select_split, not both")
        if self.ensemble and (self.held_out is not None or self.select_split is not None):
            raise ValueError("an ensemble holds out each fold in turn: set held_out and "
                             "select_split to null")  # fmt: skip
        if self.held_out is not None and self.held_out >= self.folds:
            raise ValueError(f"held_out must be below folds ({self.folds})")
        return self


class AugmentConfig(Section):
    """How training clips are changed at random, anew in every epoch.

    Attributes:
        flip: Chance that a clip is mirrored.
        crop: Smallest share of the frame that a random crop keeps; 1 keeps all of it.
        light: Largest relative change of brightness and contrast.
        frames: Frames that are drawn from those of the clip; None takes all.
        gain_db: Largest change of the sound's level, in decibels.
        noise: Noise on the sound, as a share of its own deviation.
        seconds: Length of the part that is drawn from the sound; None takes all.
    """

    flip: float = Field(0.5, ge=0, le=1)
    crop: float = Field(0.8, gt=0, le=1)
    light: float = Field(0.2, ge=0, lt=1)
    frames: int | None = Field(None, ge=1)
    gain_db: float = Field(3.0, ge=0, le=40)
    noise: float = Field(0.01, ge=0, le=1)
    seconds: float | None = Field(None, gt=0)


class LossConfig(Section):
    """What is minimised.

    Attributes:
        name: Registered loss.
        beta: Width of the quadratic zone of ``smooth_l1`` and ``huber``, and the difference that
            the ranking loss counts in; in units of the labels that are trained on.
        soft_weight: Share of the teacher's scores in the target, 0 to 1.
        ranking_weight: Weight of the pairwise logistic ranking loss within ``data.groups``.
        spread_weight: Weight of the squared difference of the batch's spread of scores and targets.
        target_weights: Weight of each target; None weighs them alike.
    """

    name: Literal["smooth_l1", "mse", "mae", "huber", "ccc"] = "smooth_l1"
    beta: float = Field(0.1, gt=0)
    soft_weight: float = Field(0.0, ge=0, le=1)
    ranking_weight: float = Field(0.0, ge=0)
    spread_weight: float = Field(0.0, ge=0)
    target_weights: tuple[float, ...] | None = None

    @property
    def compares(self) -> bool:
        """Whether clips are compared with each other, so that a batch cannot be cut into parts."""
        return self.name == "ccc" or self.ranking_weight > 0 or self.spread_weight > 0

    @model_validator(mode="after")
    def _weighs_something(self) -> LossConfig:
        weights = self.target_weights
        if weights is not None and (min(weights, default=0) < 0 or sum(weights) <= 0):
            raise ValueError("target_weights must be 0 or more, and not all of them 0")
        return self


class TeacherConfig(Section):
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


class OptimConfig(Section):
    """AdamW, its schedule and the length of the training.

    Attributes:
        lr: Highest learning rate.
        encoder_lr: Highest learning rate of pretrained encoders.
        weight_decay: Decoupled weight decay, not applied to biases and norms.
        epochs: Passes over the training rows.
        batch_size: Clips per step, over all processes.
        accumulate: Parts that a step's clips are run in, to save memory; the step stays the same.
        schedule: How the rate falls: ``cosine``, half a cosine down to zero at the last step, or
            ``plateau``, by a fifth whenever the selection metric has not got better for a while.
        warmup: Share of the steps in which the rate rises.
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
    accumulate: int = Field(1, ge=1)
    schedule: Literal["cosine", "plateau"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    patience: int | None = Field(None, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"


class RunConfig(Section):
    """How the run is done.

    Attributes:
        select_metric: Metric of the selection rows that the best epoch maximises; ``last`` keeps
            the last epoch, so that the selection rows stay unseen.
        checkpoint_steps: Steps between checkpoints; an epoch's end always makes one.
        threads: CPU threads; None leaves the choice to torch.
        device: ``cpu`` or ``cuda``.
        workers: Processes that decode and prepare clips; 0 does it in the training process.
        cache: Folder of decoded and encoded clips that several runs share; None keeps them in the
            run folder.
        online: Whether pretrained weights may be fetched from the hub.
    """

    select_metric: Literal["accuracy", "r2", "pcc", "ccc", "last"] = "r2"
    checkpoint_steps: int = Field(200, ge=1)
    threads: int | None = Field(None, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int = Field(0, ge=0, le=256)
    cache: Path | None = None
    online: bool = False
