"""Several clips as the arrays of one batch, by one code for training and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.spec import InputSpec

Arrays = dict[str, npt.NDArray[Any]]

VIDEO_SHOWN: Final = "video_shown"
"""Input of graphs that look at each picture by itself; see ``deduplicate_frames``."""


def collate(clips: Sequence[ClipInputs], spec: InputSpec) -> Arrays:
    """Stack clips: padded at the end with zeros, and a mask of what is real.

    Video and audio have the size that the spec gives them; text is padded to the longest one. An
    absent modality holds zeros, its first element marked real so that no mean divides by nothing;
    ``present`` says that it is absent. A column that is not a number is masked, and so is a token
    of -1, which fills up the shorter ones of several prompts.

    Args:
        clips: Made with the same spec.
        spec: The preprocessing.

    Returns:
        ``present`` float32 (batch, 3), and for each modality that is read its array by its name,
        (batch, …), with ``<name>_mask``, float32 (batch, length): 1 where an element of the first
        axis is real. Text with prompts has a mask (batch, prompt, token).
    """
    batch: Arrays = {"present": np.stack([clip.present for clip in clips]).astype(np.float32)}
    for name, part in spec.parts.items():
        batch[name], batch[f"{name}_mask"] = part.collate([getattr(clip, name) for clip in clips])
    return batch


def deduplicate_frames(batch: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Leave out pictures that a clip shows again, so that an image network sees each once.

    A clip with fewer frames than were asked for repeats some, and so do a still picture and the
    decode profile ``key``.

    Args:
        batch: From ``collate``, with ``video`` uint8 (batch, frame, 3, height, width).

    Returns:
        ``video`` uint8 (batch, picture, 3, height, width), padded at the end with zeros, and
        ``video_shown`` int64 (batch, frame): which of its clip's pictures a frame shows.
    """
    frames = batch["video"]
    shown = np.zeros(frames.shape[:2], dtype=np.int64)
    kept: list[list[int]] = []
    for row, clip in enumerate(frames):
        places: dict[bytes, int] = {}
        content = [frame.tobytes() for frame in clip]
        shown[row] = [places.setdefault(picture, len(places)) for picture in content]
        kept.append(np.unique(shown[row], return_index=True)[1].tolist())
    pictures = np.zeros((len(frames), max(map(len, kept)), *frames.shape[2:]), dtype=frames.dtype)
    for target, clip, chosen in zip(pictures, frames, kept, strict=True):
        target[: len(chosen)] = clip[chosen]
    return {"video": pictures, VIDEO_SHOWN: shown}
