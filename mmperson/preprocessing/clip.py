"""Prepare the inputs of a network from a decoded clip and its transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmperson.preprocessing.spec import InputSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip


@dataclass(frozen=True, eq=False)
class ClipInputs:
    """The inputs of one clip; None for a modality that is unread or absent.

    Attributes:
        video: uint8 (frame, 3, height, width), or float32 (column,).
        audio: float32, of the ``shape`` of its spec or shorter.
        text: int64 (token,), or with prompts (prompt, token); special tokens included.
        warnings: One sentence each.
        absent: Reason by modality, for those that the spec reads and the clip lacks.
    """

    video: npt.NDArray[np.uint8] | npt.NDArray[np.float32] | None = None
    audio: npt.NDArray[np.float32] | None = None
    text: npt.NDArray[np.int64] | None = None
    warnings: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether video, audio and text are present, bool (3,)."""
        return np.array([part is not None for part in (self.video, self.audio, self.text)])


def prepare_clip(
    clip: Clip | None, transcript: str | None, spec: InputSpec, tokenizer: Tokenizer | None
) -> ClipInputs:
    """Prepare the modalities that a spec reads.

    Silent or very short audio and a transcript without words are absent, with a warning. Warnings
    of the clip are not repeated. Results are bit-identical for any number of numpy's threads.

    Args:
        clip: From ``read_clip`` with ``spec.read_options()``; None if there is only text.
        transcript: None if unknown.
        spec: The preprocessing.
        tokenizer: From ``load_tokenizer``; None if the spec reads no text.

    Raises:
        UsageError: The clip was read with other settings than the spec's, or a tokenizer is needed.
        MissingExtra: A package is missing; see ``ModalitySpec.require``.
    """
    prepared = {
        name: part.prepare(clip, transcript, tokenizer) for name, part in spec.parts.items()
    }
    return ClipInputs(
        **{name: modality.array for name, modality in prepared.items()},
        warnings=tuple(chain.from_iterable(modality.warnings for modality in prepared.values())),
        absent={name: modality.absent for name, modality in prepared.items() if modality.absent},
    )
