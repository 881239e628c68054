"""Decoded frames to the stack of frames that a video network reads."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import UsageError
from mmperson.preprocessing.spec import FrameSpec

# Beyond this ratio the ends, which no centre crop keeps, are cut before resizing.
_LONGEST_ASPECT: Final = 8


def prepare_frames(frames: npt.NDArray[np.uint8], spec: FrameSpec) -> npt.NDArray[np.uint8]:
    """Resize the short side and crop the centre.

    Shrinking averages over areas, which leaves no moiré and is what antialiased resizing elsewhere
    comes close to; enlarging interpolates linearly. The network itself takes away the mean, so that
    caches and transfers hold bytes.

    Args:
        frames: uint8 (frame, height, width, 3), RGB, one or more.
        spec: The settings.

    Returns:
        uint8 (frame, 3, height, width), contiguous.

    Raises:
        UsageError: The array is no stack of frames.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise UsageError(
            f"The frames are {frames.dtype} of shape {frames.shape}; "
            "uint8 of shape (frame, height, width, 3) is needed, one or more."
        )
    prepared = np.empty((len(frames), 3, spec.height, spec.width), dtype=np.uint8)
    for target, frame in zip(prepared, frames, strict=True):
        crop = _centre(_resize(_limit_aspect(frame), spec.short_side), spec.height, spec.width)
        target[:] = crop.transpose(2, 0, 1)
    return prepared


def difference_frames(prepared: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return how much each pixel differs in the next frame; the last difference counts twice.

    Source: motion energy images, weighted by Biel and Gatica-Perez 2013, The YouTube Lens (IEEE
    Transactions on Multimedia), section IV; here without their sum over time.

    Args:
        prepared: uint8 (frame, 3, height, width), from ``prepare_frames``.

    Returns:
        uint8 (frame, 3, height, width); zeros for a single frame.
    """
    if len(prepared) == 1:
        return np.zeros_like(prepared)
    difference = np.abs(np.diff(prepared.astype(np.int16), axis=0)).astype(np.uint8)
    return np.concatenate([difference, difference[-1:]])


def _limit_aspect(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut the ends of a ribbon: resized whole, it could fill the memory."""
    height, width = frame.shape[:2]
    longest = _LONGEST_ASPECT * min(height, width)
    return _centre(frame, min(height, longest), min(width, longest))


def _resize(frame: npt.NDArray[np.uint8], short_side: int) -> npt.NDArray[np.uint8]:
    """Resize so that the shorter side has the wanted length."""
    import cv2  # Here, because networks that read no video need not wait for it.

    from mmperson.media.video import halve  # Here for the same reason.

    height, width = frame.shape[:2]
    short = min(height, width)
    if short == short_side:
        return frame
    size = (math.floor(width * short_side / short), math.floor(height * short_side / short))
    method = cv2.INTER_AREA if short > short_side else cv2.INTER_LINEAR
    halved, _ = halve(frame, short / short_side)
    return np.asarray(cv2.resize(halved, size, interpolation=method), dtype=np.uint8)


def _centre(frame: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a view of the middle."""
    top = round((frame.shape[0] - height) / 2)
    left = round((frame.shape[1] - width) / 2)
    return frame[top : top + height, left : left + width]
