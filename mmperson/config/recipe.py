"""The recipe of a training run."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml
from pydantic import Field, model_validator

from mmperson.config.encoders import AudioConfig, TextConfig, VideoConfig
from mmperson.config.fusions import FusionConfig, HeadsConfig, TtfnConfig
from mmperson.config.learning import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimConfig,
    RunConfig,
    TeacherConfig,
)
from mmperson.config.section import Section
from mmperson.traits import TRAITS


class Recipe(Section):
    """A complete training run. Modalities without an encoder are not used."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = Field(0, ge=0, lt=2**63)
    data: DataConfig
    video: VideoConfig | None = None
    audio: AudioConfig | None = None
    text: TextConfig | None = None
    fusion: FusionConfig = TtfnConfig()
    heads: HeadsConfig = HeadsConfig()
    teacher: TeacherConfig | None = None
    augment: AugmentConfig | None = None
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.video is None and self.text is None and self.audio is None:
            raise ValueError("give at least one encoder: video, audio or text")
        if (self.teacher is None) != (self.loss.soft_weight == 0):
            raise ValueError("teacher and a loss.soft_weight above 0 go together")
        if self.teacher is not None:
            self._check_teacher()
        one_vector = self.fusion.name not in ("ttfn", "trait_query", "late")
        if self.heads.name == "ensemble" and self.heads.shared and one_vector:
            raise ValueError(
                f"fusion {self.fusion.name} has one vector for all targets, so a shared ensemble "
                "gives them equal scores: set heads.shared to false, or heads.name to per_trait"
            )
        if self.heads.output != "linear" and (
            self.data.labels != "none" or self.data.targets != TRAITS
        ):
            raise ValueError(
                f"heads.output {self.heads.output} is bounded to [0, 1]: it needs data.labels none "
                "and only the traits as targets"
            )
        if self.heads.calibrate and (
            self.heads.output != "linear" or self.data.labels != "none" or not self.data.selects
        ):
            raise ValueError(
                "heads.calibrate needs rows to select on (data.held_out or data.select_split), "
                "heads.output linear and data.labels none"
            )
        if self.optim.accumulate > 1 and self.loss.compares:
            raise ValueError(
                "optim.accumulate splits a batch, and this loss compares the clips of a batch: set "
                "it to 1, or use another loss"
            )
        selects = self.data.selects and self.run.select_metric != "last"
        if self.optim.schedule == "plateau" and not selects:
            raise ValueError(
                "optim.schedule plateau needs a selection metric: give data.held_out or "
                "data.select_split, and a run.select_metric other than last"
            )
        if self.loss.ranking_weight > 0 and self.data.groups is None:
            raise ValueError("loss.ranking_weight needs data.groups")
        weights = self.loss.target_weights
        if weights is not None and len(weights) != len(self.data.targets):
            raise ValueError(
                f"loss.target_weights has {len(weights)} weights; "
                f"there are {len(self.data.targets)} targets"
            )
        return self

    def _check_teacher(self) -> None:
        """Raise unless the teacher supports the inputs and targets."""
        audio = getattr(self.audio, "name", "descriptors") == "descriptors"
        text = self.text is None or (self.text.name == "transformer" and self.text.prompt == "none")
        traits = self.data.targets == TRAITS and self.data.labels == "none"
        if not (self.fusion.name == "ttfn" and self.video is None and audio and text and traits):
            raise ValueError(
                "teacher needs fusion.name ttfn, no video, audio.name descriptors, a plain text "
                "transformer, and the five traits without data.labels"
            )

    def member(self, fold: int) -> Recipe:
        """Return the recipe of an ensemble's member, with one held-out fold."""
        data = self.data.model_copy(update={"ensemble": False, "held_out": fold})
        return self.model_copy(update={"data": data})

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the used modalities, in the order video, audio, text."""
        return tuple(name for name in ("video", "audio", "text") if getattr(self, name) is not None)

    @property
    def pretrained(self) -> tuple[str, ...]:
        """Names of the modalities with a pretrained encoder."""
        return tuple(
            name
            for name in self.modalities
            if getattr(getattr(self, name), "weights", None) is not None
        )

    @property
    def hash(self) -> str:
        """Return the SHA-256 of all settings that affect the result, as 64 hex digits."""
        excluded = {"run": {"threads", "device", "workers", "cache", "online", "checkpoint_steps"}}
        content = self.model_dump(mode="json", exclude=excluded)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the content; classes of sections may be derived, see ``encoder_sections``."""
        return Recipe.model_validate, (self.model_dump(),)

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML, in the order of the sections."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text
