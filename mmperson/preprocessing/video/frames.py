"""Prepare decoded frames for a video network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, model_validator

from mmperson.errors import UsageError
from mmperson.preprocessing.modality import ModalitySpec, Prepared

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip
    from mmperson.media.video import Frames

_MAX_ASPECT: Final = 8  # Longer frames are cropped before resizing.
_MIN_OVERSIZE: Final = 2  # A halved picture stays at least this many times too large.


class FrameSpec(ModalitySpec):
    """A stack of frames.

    Attributes:
        views: ``scene`` is the centre crop of a frame, ``face`` the aligned face of the speaker,
            ``motion`` the absolute difference of successive scenes. The stack contains all frames
            of the first view, then those of the next.
        count: Frames per clip, evenly spaced.
        short_side: Length of the shorter side after resizing, in pixels.
        height: Of the centre crop, in pixels.
        width: Of the centre crop, in pixels.
        mean: Red, green and blue mean on the [0, 1] scale, which the network subtracts.
        std: Standard deviations on the [0, 1] scale, by which the network divides.
    """

    dtype: ClassVar[str] = "uint8"
    augmentation: ClassVar[str | None] = "frames"
    description: ClassVar[str] = "frames"

    kind: Literal["frames"] = "frames"
    views: tuple[Literal["scene", "face", "motion"], ...] = Field(
        ("scene",), min_length=1, max_length=3
    )
    count: int = Field(16, ge=1, le=1024)
    short_side: int = Field(256, ge=16, le=2048)
    height: int = Field(224, ge=16, le=2048)
    width: int = Field(224, ge=16, le=2048)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(self.height, self.width) > self.short_side:
            raise ValueError(
                f"the crop ({self.height} x {self.width}) must fit short_side ({self.short_side})"
            )
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """(frame, 3, height, width)."""
        return (len(self.views) * self.count, 3, self.height, self.width)

    @property
    def graph_shape(self) -> tuple[int | None, ...]:
        """(picture, 3, height, width): repeated frames may be dropped."""
        return (None, *self.shape[1:])

    def read_options(self) -> dict[str, Any]:
        """Return the number of frames."""
        return {"frames": self.count}

    def preload(self) -> None:
        """Load OpenCV, and the face detector for the view ``face``."""
        import cv2  # noqa: F401

        if "face" in self.views:
            from mmperson.preprocessing.video.faces import face_detector

            face_detector()

    def prepare(
        self, clip: Clip | None, transcript: str | None, tokenizer: Tokenizer | None
    ) -> Prepared:
        """Stack the frames of every view; repeated frames are prepared once.

        Raises:
            UsageError: The clip was read with another number of frames.
        """
        if clip is None or clip.frames is None:
            return Prepared(None, "The clip has no usable video.")
        frames = clip.frames
        if len(frames) != self.count:
            raise UsageError(f"The clip was read with {len(frames)} frames, not with {self.count}.")
        index = np.arange(len(frames))
        if clip.frame_times_s is not None:
            _, first, index = np.unique(clip.frame_times_s, return_index=True, return_inverse=True)
            frames = frames if len(first) == len(frames) else frames[first]
        scene = None if self.views == ("face",) else prepare_frames(frames, self)[index]
        views, warnings = [], []
        for view in self.views:
            if view == "face":
                faces, face_warnings = _prepare_faces(frames, self)
                views.append(faces[index])
                warnings += face_warnings
            elif scene is not None:
                views.append(difference_frames(scene) if view == "motion" else scene)
        return Prepared(np.concatenate(views), "", tuple(warnings))


def prepare_frames(frames: Frames, spec: FrameSpec) -> npt.NDArray[np.uint8]:
    """Resize the short side and crop the centre.

    Area averaging shrinks, which avoids moiré; linear interpolation enlarges. The network subtracts
    the mean, so caches and transfers stay uint8.

    Args:
        frames: uint8 (frame, height, width, 3), RGB, one or more.
        spec: The settings.

    Returns:
        uint8 (frame, 3, height, width), contiguous.

    Raises:
        UsageError: The frames have another shape or dtype, or are empty.
    """
    check_frames(frames)
    prepared = np.empty((len(frames), 3, spec.height, spec.width), dtype=np.uint8)
    for target, frame in zip(prepared, frames, strict=True):
        resized = _resize(_limit_aspect(frame), spec.short_side)
        target[:] = _crop_centre(resized, spec.height, spec.width).transpose(2, 0, 1)
    return prepared


def check_frames(frames: Frames) -> None:
    """Raise unless frames are uint8 (frame, height, width, 3) and not empty.

    Raises:
        UsageError: They are not.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise UsageError(
            f"The frames are {frames.dtype} of shape {frames.shape}; "
            "they must be uint8 of shape (frame, height, width, 3), one or more."
        )


def difference_frames(prepared: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the absolute difference to the next frame; the last difference is repeated.

    Source: motion energy images, weighted by Biel and Gatica-Perez 2013, The YouTube Lens (IEEE
    Transactions on Multimedia), section IV; here not summed over time.

    Args:
        prepared: uint8 (frame, 3, height, width), from ``prepare_frames``.

    Returns:
        uint8 (frame, 3, height, width); zeros for a single frame.
    """
    if len(prepared) == 1:
        return np.zeros_like(prepared)
    later, earlier = prepared[1:], prepared[:-1]
    difference = np.maximum(later, earlier) - np.minimum(later, earlier)  # without overflow
    return np.concatenate([difference, difference[-1:]])


def _prepare_faces(frames: Frames, spec: FrameSpec) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Crop the speaker's face; without a face, use the scene."""
    from mmperson.preprocessing.video.faces import face_detector
    from mmperson.preprocessing.video.tracking import crop_faces, track_speaker

    track = track_speaker(frames, face_detector())
    if track.boxes is not None:
        frames = crop_faces(frames, track, spec.short_side)
    return prepare_frames(frames, spec), list(track.warnings)


def halve(picture: npt.NDArray[np.uint8], ratio: float) -> tuple[npt.NDArray[np.uint8], int]:
    """Halve a picture repeatedly by averaging 2 x 2 pixels, before it is resized.

    Halving first takes a third of the time and changes the result by less than half a grey level.
    An odd last row or column is dropped.

    Args:
        picture: uint8 (height, width, 3).
        ratio: Factor by which the picture will be shrunk in all. It stays at least twice as large.

    Returns:
        The picture, and the factor by which it was shrunk, a power of two.
    """
    import cv2  # Here: only video needs it.

    factor = 1
    while ratio >= 2 * _MIN_OVERSIZE * factor and min(picture.shape[:2]) > 1:
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        even = picture[: 2 * height, : 2 * width]
        picture = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
        factor *= 2
    return picture, factor


def _limit_aspect(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Crop very long frames: resized, they could exhaust the memory."""
    height, width = frame.shape[:2]
    longest = _MAX_ASPECT * min(height, width)
    return _crop_centre(frame, min(height, longest), min(width, longest))


def _resize(frame: npt.NDArray[np.uint8], short_side: int) -> npt.NDArray[np.uint8]:
    """Resize the shorter side to ``short_side``."""
    import cv2  # Here: only video needs it.

    height, width = frame.shape[:2]
    short = min(height, width)
    if short == short_side:
        return frame
    size = (math.floor(width * short_side / short), math.floor(height * short_side / short))
    method = cv2.INTER_AREA if short > short_side else cv2.INTER_LINEAR
    halved, _ = halve(frame, short / short_side)
    return np.asarray(cv2.resize(halved, size, interpolation=method), dtype=np.uint8)


def _crop_centre(frame: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a view of the centre."""
    top = round((frame.shape[0] - height) / 2)
    left = round((frame.shape[1] - width) / 2)
    return frame[top : top + height, left : left + width]
