"""All parameters of the preprocessing, in one hashed record that is stored in the bundle.

Training and inference prepare inputs with the same code and the same record. Caches and bundles
store ``InputSpec.hash``; a mismatch is an error. To add an input, write a module that defines its
spec and add a line to ``INPUTS``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Annotated, Any, Final

from pydantic import SerializeAsAny

from mmperson.preprocessing.audio.descriptors import DescriptorSpec
from mmperson.preprocessing.audio.librosa_features import LibrosaSpec
from mmperson.preprocessing.audio.log_mel import LogMelSpec
from mmperson.preprocessing.audio.prosody import ProsodySpec
from mmperson.preprocessing.audio.sound import WaveformSpec
from mmperson.preprocessing.columns import ColumnSpec
from mmperson.preprocessing.modality import ModalitySpec, Record, one_of
from mmperson.preprocessing.text.dialogue import DialogueSpec
from mmperson.preprocessing.text.encode import TextSpec
from mmperson.preprocessing.video.frames import FrameSpec

__all__ = [
    "INPUTS",
    "ColumnSpec",
    "DescriptorSpec",
    "DialogueSpec",
    "FrameSpec",
    "InputSpec",
    "LibrosaSpec",
    "LogMelSpec",
    "ModalitySpec",
    "ProsodySpec",
    "TextSpec",
    "WaveformSpec",
]

INPUTS: Final[dict[str, dict[str, type[ModalitySpec]]]] = {
    "video": {"frames": FrameSpec, "columns": ColumnSpec},
    "audio": {
        "descriptors": DescriptorSpec,
        "prosody": ProsodySpec,
        "log_mel": LogMelSpec,
        "waveform": WaveformSpec,
        "librosa": LibrosaSpec,
        "columns": ColumnSpec,
    },
}
"""Inputs by modality, and by their name in a recipe if they have a ``ModalitySpec.encoder``."""

_Spec = SerializeAsAny[ModalitySpec]


class InputSpec(Record):
    """The preprocessing of one network; None for a modality that it does not read."""

    video: Annotated[_Spec, one_of(lambda: INPUTS["video"].values(), "kind")] | None = None
    audio: Annotated[_Spec, one_of(lambda: INPUTS["audio"].values(), "kind")] | None = None
    text: TextSpec | DialogueSpec | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON form, 64 hex digits."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def parts(self) -> dict[str, ModalitySpec]:
        """Specs by modality, in the order video, audio, text."""
        named = {"video": self.video, "audio": self.audio, "text": self.text}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order video, audio, text."""
        return tuple(self.parts)

    @property
    def reads_turns(self) -> bool:
        """Whether the transcript must keep the speakers' names."""
        return self.text is not None and self.text.reads_turns

    def subset(self, modalities: Collection[str]) -> InputSpec:
        """Return the spec with only these modalities."""
        return self.model_copy(update=dict.fromkeys(set(self.parts) - set(modalities)))

    def read_options(self) -> dict[str, Any]:
        """Return the arguments of ``read_clip`` that decode only what the network reads."""
        options: dict[str, Any] = {"frames": 0, "audio": None}
        for part in self.parts.values():
            options |= part.read_options()
        return options

    def require(self) -> None:
        """Check that the packages for preparing are installed.

        Raises:
            MissingExtra: A package is missing.
        """
        for part in self.parts.values():
            part.require()

    def preload(self) -> None:
        """Load libraries and models before the memory of a worker is limited."""
        for part in self.parts.values():
            part.preload()
