"""Collate clips into a batch, with one code for training and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.spec import InputSpec

Arrays = dict[str, npt.NDArray[Any]]

VIDEO_SHOWN: Final = "video_shown"
"""Input of graphs that encode each picture once; see ``deduplicate_frames``."""


def collate(clips: Sequence[ClipInputs], spec: InputSpec) -> Arrays:
    """Stack clips, zero-padded at the end, with masks.

    Video and audio are padded to the shape of the spec, text to the longest transcript. An absent
    modality is zeros with ``present`` 0; its first element is unmasked, so that no mean divides by
    zero. NaN columns and tokens of -1, the padding of shorter prompts, are masked.

    Args:
        clips: Prepared with the same spec.
        spec: The preprocessing.

    Returns:
        ``present``, float32 (batch, 3), and for each modality ``<name>``, (batch, …), and
        ``<name>_mask``, float32 (batch, length): 1 where an element of the first axis is real. The
        mask of text with prompts is (batch, prompt, token).
    """
    batch: Arrays = {"present": np.stack([clip.present for clip in clips]).astype(np.float32)}
    for name, part in spec.parts.items():
        batch[name], batch[f"{name}_mask"] = part.collate([getattr(clip, name) for clip in clips])
    return batch


def deduplicate_frames(batch: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Drop repeated frames, so that an image network encodes each picture once.

    Frames repeat in a clip with fewer frames than requested, in a still picture, and in the decode
    profile ``key`` (keyframes only).

    Args:
        batch: From ``collate``, with ``video`` uint8 (batch, frame, 3, height, width).

    Returns:
        ``video`` uint8 (batch, picture, 3, height, width), zero-padded at the end, and
        ``video_shown`` int64 (batch, frame): the index of each frame's picture in its clip.
    """
    frames = batch["video"]
    index = np.zeros(frames.shape[:2], dtype=np.int64)
    first = []
    for row, clip in zip(index, frames, strict=True):
        pictures: dict[bytes, int] = {}
        row[:] = [pictures.setdefault(frame.tobytes(), len(pictures)) for frame in clip]
        first.append(np.unique(row, return_index=True)[1])
    video = np.zeros((len(frames), max(map(len, first)), *frames.shape[2:]), dtype=frames.dtype)
    for target, clip, chosen in zip(video, frames, first, strict=True):
        target[: len(chosen)] = clip[chosen]
    return {"video": video, VIDEO_SHOWN: index}
