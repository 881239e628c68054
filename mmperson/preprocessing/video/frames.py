"""Decoded frames to the stack of frames that a video network reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from mmperson.errors import UsageError
from mmperson.preprocessing.modality import ModalitySpec, Prepared

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip
    from mmperson.media.video import Frames

# Beyond this ratio the ends, which no centre crop keeps, are cut before resizing.
_LONGEST_ASPECT: Final = 8
_LEAST_LEFT: Final = 2  # How many times too large a halved picture stays, at least.


class FrameSpec(ModalitySpec):
    """How a video becomes a stack of frames.

    Attributes:
        kind: Name of the representation.
        views: What is seen of each frame: ``scene`` is its middle, ``face`` the aligned face of the
            speaker, ``motion`` how much each pixel of the scene differs in the next frame. The
            stack holds all frames of the first view, then those of the next.
        count: Frames per clip, spread evenly over its length.
        short_side: Pixels that the shorter side is resized to.
        height: Pixels of the centre crop.
        width: Pixels of the centre crop.
        mean: Channel means (red, green, blue) on the [0, 1] scale, which the network takes away.
        std: Channel standard deviations on the [0, 1] scale, which it divides by.
    """

    dtype: ClassVar[str] = "uint8"
    augmentation: ClassVar[str | None] = "frames"

    kind: Literal["frames"] = "frames"
    views: tuple[Literal["scene", "face", "motion"], ...] = Field(
        ("scene",), min_length=1, max_length=3
    )
    count: int = Field(16, ge=1, le=1024)
    short_side: int = Field(256, ge=16, le=2048)
    height: int = Field(224, ge=16, le=2048)
    width: int = Field(224, ge=16, le=2048)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(self.height, self.width) > self.short_side:
            raise ValueError(
                f"the crop ({self.height} x {self.width}) must fit short_side ({self.short_side})"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, not {self.std}")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """(frame, 3, height, width)."""
        return (len(self.views) * self.count, 3, self.height, self.width)

    @property
    def graph_shape(self) -> tuple[int | None, ...]:
        """(picture, 3, height, width): a picture that is shown again may be left out."""
        return (None, *self.shape[1:])

    @property
    def description(self) -> str:
        """What the model card says is read."""
        return "frames"

    def read_options(self) -> dict[str, Any]:
        """Return the number of frames."""
        return {"frames": self.count}

    def preload(self) -> None:
        """Load OpenCV, and the face detector where faces are read."""
        import cv2  # noqa: F401

        if "face" in self.views:
            from mmperson.preprocessing.video.faces import face_detector

            face_detector()

    def prepare(
        self, clip: Clip | None, transcript: str | None, tokenizer: Tokenizer | None
    ) -> Prepared:
        """Stack the frames of every view; a frame that stands in for several is prepared once.

        Raises:
            UsageError: The clip was read with another number of frames.
        """
        if clip is None or clip.frames is None:
            return Prepared(None, "The clip has no usable video.")
        frames = clip.frames
        if len(frames) != self.count:
            raise UsageError(f"The clip was read with {len(frames)} frames, not with {self.count}.")
        shown = np.arange(len(frames))
        if clip.frame_times_s is not None:
            _, first, shown = np.unique(clip.frame_times_s, return_index=True, return_inverse=True)
            frames = frames if len(first) == len(frames) else frames[first]
        scene = None if self.views == ("face",) else prepare_frames(frames, self)[shown]
        views, warnings = [], []
        for view in self.views:
            if view == "face":
                faces, found = _prepare_faces(frames, self)
                views.append(faces[shown])
                warnings += found
            elif scene is not None:
                views.append(difference_frames(scene) if view == "motion" else scene)
        return Prepared(np.concatenate(views), "", tuple(warnings))


def prepare_frames(frames: Frames, spec: FrameSpec) -> npt.NDArray[np.uint8]:
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
    later, earlier = prepared[1:], prepared[:-1]
    difference = np.maximum(later, earlier) - np.minimum(later, earlier)  # bytes cannot overflow
    return np.concatenate([difference, difference[-1:]])


def _prepare_faces(frames: Frames, spec: FrameSpec) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Cut the speaker's face out; where none is found, the middle of the frame stands in."""
    from mmperson.preprocessing.video.faces import face_detector
    from mmperson.preprocessing.video.tracking import crop_faces, track_speaker

    track = track_speaker(frames, face_detector())
    if track.boxes is not None:
        frames = crop_faces(frames, track, spec.short_side)
    return prepare_frames(frames, spec), list(track.warnings)


def halve(picture: npt.NDArray[np.uint8], ratio: float) -> tuple[npt.NDArray[np.uint8], int]:
    """Average a picture over squares of two by two pixels, again and again.

    What is shrunk the rest of the way differs by less than half a grey level from what the whole
    picture gives, and takes a third of the time. An odd last row or column is lost.

    Args:
        picture: uint8 (height, width, 3).
        ratio: How many times as small it will be made in the end. It stays at least twice as large.

    Returns:
        The picture, and how many times as small it is now: a power of two.
    """
    import cv2  # Here, because networks that read no video need not wait for it.

    times = 1
    while ratio >= 2 * _LEAST_LEFT * times and min(picture.shape[:2]) > 1:
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        even = picture[: 2 * height, : 2 * width]
        picture = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
        times *= 2
    return picture, times


def _limit_aspect(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut the ends of a ribbon: resized whole, it could fill the memory."""
    height, width = frame.shape[:2]
    longest = _LONGEST_ASPECT * min(height, width)
    return _centre(frame, min(height, longest), min(width, longest))


def _resize(frame: npt.NDArray[np.uint8], short_side: int) -> npt.NDArray[np.uint8]:
    """Resize so that the shorter side has the wanted length."""
    import cv2  # Here, because networks that read no video need not wait for it.

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
