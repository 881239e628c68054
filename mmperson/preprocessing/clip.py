"""A decoded clip and its transcript to the inputs of a network, modality by modality."""

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
    """What a network reads of one clip; None where a modality is unread or absent.

    Attributes:
        video: uint8 (frame, 3, height, width), or float32 (column,).
        audio: float32 (descriptor,), (time, mel), (sample,) or (column,): see ``AudioSpec``.
        text: int64 (token,), or with prompts (prompt, token); special tokens included.
        warnings: What the reader of the scores should know; one sentence each.
        absent: Why a modality that the spec reads is None, by its name.
    """

    video: npt.NDArray[np.uint8] | npt.NDArray[np.float32] | None = None
    audio: npt.NDArray[np.float32] | None = None
    text: npt.NDArray[np.int64] | None = None
    warnings: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether there is video, audio, text: bool (3,)."""
        return np.array([part is not None for part in (self.video, self.audio, self.text)])


def prepare_clip(
    clip: Clip | None, transcript: str | None, spec: InputSpec, tokenizer: Tokenizer | None
) -> ClipInputs:
    """Prepare the modalities that a spec reads; what it does not read is left alone.

    Silent or very short sound and a transcript without a word are absent, with a warning. The
    warnings of the clip itself are not repeated. Inputs are the same bits however many threads
    numpy was given.

    Args:
        clip: From ``read_clip`` with ``spec.read_options()``. None if there is only text.
        transcript: What is said, None if unknown.
        spec: The preprocessing.
        tokenizer: From ``load_tokenizer``; None where the spec reads no text.

    Returns:
        The inputs.

    Raises:
        UsageError: The clip was read with other settings than the spec's, or there is no tokenizer.
        MissingExtra: A package is needed that is not installed, see ``ModalitySpec.require``.
    """
    made = {name: part.prepare(clip, transcript, tokenizer) for name, part in spec.parts.items()}
    return ClipInputs(
        **{name: prepared.array for name, prepared in made.items()},
        warnings=tuple(chain.from_iterable(prepared.warnings for prepared in made.values())),
        absent={name: prepared.absent for name, prepared in made.items() if prepared.absent},
    )
