"""Choose frames by time and return them as upright RGB.

Frames are chosen while decoding: each target time keeps the nearer of the frames before and after
it, so memory holds only chosen frames, and variable frame rates need no special case. Chosen frames
stay YUV, in half the memory of RGB, until they are accessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, overload

import av
import numpy as np
import numpy.typing as npt

from mmperson.media.clip import upright_deg
from mmperson.media.open import translate_errors

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from mmperson.media.limits import MediaLimits

RGB: TypeAlias = npt.NDArray[np.uint8]

# Rounding must not break ties: asking for as many frames as there are returns each once.
_TIE_S = 1e-6
_COMPACT_FORMATS = frozenset({"yuv420p", "yuvj420p"})


def plan_frames(start_s: float, end_s: float, count: int) -> npt.NDArray[np.float64]:
    """Return the centres of equal parts of a clip.

    Args:
        start_s: Time of the first frame in seconds.
        end_s: End of the last frame in seconds.
        count: Number of parts, 0 or more.

    Returns:
        float64 (frame,), seconds, ascending.

    >>> plan_frames(0.0, 8.0, 4)
    array([1., 3., 5., 7.])
    """
    centres = np.arange(count, dtype=np.float64) + 0.5
    return start_s + centres * ((end_s - start_s) / max(count, 1))


def nearest_frames(
    times_s: npt.NDArray[np.float64], targets_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """Return which frames a ``FramePicker`` would keep.

    Args:
        times_s: float64 (frame,), seconds, ascending; one or more.
        targets_s: float64 (target,), seconds.

    Returns:
        intp (target,), index of the nearest frame; a tie goes to the earlier.

    >>> nearest_frames(np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.6]))
    array([0, 2])
    """
    after = np.searchsorted(times_s, targets_s).clip(0, len(times_s) - 1)
    before = (after - 1).clip(0)
    earlier = targets_s - times_s[before] <= times_s[after] - targets_s + _TIE_S
    return np.where(earlier, before, after)


class _Yuv(NamedTuple):
    """How the planes of a frame become RGB."""

    width: int
    height: int
    format: str
    colorspace: int
    color_range: int

    @classmethod
    def of(cls, frame: VideoFrame) -> _Yuv | None:
        """Return the format of a frame; None if its planes are not kept."""
        width, height, name = frame.width, frame.height, frame.format.name
        if name not in _COMPACT_FORMATS or width % 2 or height % 2:
            return None
        return cls(width, height, name, int(frame.colorspace), int(frame.color_range))

    def to_rgb(self, planes: RGB) -> RGB:
        frame = av.VideoFrame.from_ndarray(planes, format=self.format)
        frame.colorspace, frame.color_range = self.colorspace, self.color_range
        rgb = frame.to_ndarray(format="rgb24", width=self.width, height=self.height)
        return np.asarray(rgb, dtype=np.uint8)


@dataclass(frozen=True, eq=False, repr=False)
class FrameStack:
    """Chosen frames of a video, each converted to RGB on access.

    Along its first axis it reads as the array uint8 (frame, height, width, 3) of upright RGB:
    ``len``, iteration; an index gives a frame, a slice or an array of indices another stack.
    ``np.asarray`` gives the array. 4:2:0 YUV, which most decoders return, takes half of the
    array's memory. Access raises a ``MediaError`` if a frame cannot be converted.

    Attributes:
        pictures: uint8, YUV planes (picture, row, width), or upright RGB (picture, height, width,
            3).
        indices: intp (frame,), index of each frame's picture.
        yuv: How the planes become RGB; None for RGB.
        rotation_deg: Counter-clockwise rotation that makes the planes upright.
        clip: Path of the clip, for errors.
    """

    pictures: RGB
    indices: npt.NDArray[np.intp]
    yuv: _Yuv | None
    rotation_deg: int
    clip: str = ""

    dtype: ClassVar = np.dtype(np.uint8)
    ndim: ClassVar = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frame, height, width, 3)."""
        height, width = self.pictures.shape[1:3]
        if self.yuv is not None:
            height = self.yuv.height
            if self.rotation_deg % 180:
                height, width = width, height
        return len(self), height, width, 3

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[RGB]:
        return map(self._to_rgb, self.indices)

    @overload
    def __getitem__(self, chosen: int) -> RGB: ...

    @overload
    def __getitem__(self, chosen: slice | Sequence[int] | npt.NDArray[Any]) -> FrameStack: ...

    def __getitem__(self, chosen: Any) -> RGB | FrameStack:
        indices = self.indices[chosen]
        if indices.ndim == 0:
            return self._to_rgb(indices)
        return replace(self, indices=indices)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("Frames are converted to RGB: an array of them is always a copy.")
        array = np.empty(self.shape, dtype=np.uint8)
        for target, frame in zip(array, self, strict=True):
            target[:] = frame
        return array if dtype is None else array.astype(dtype, copy=False)

    def _to_rgb(self, picture: np.intp) -> RGB:
        if self.yuv is None:
            return np.asarray(self.pictures[picture])
        with translate_errors(self.clip):
            rgb = self.yuv.to_rgb(self.pictures[picture])
        return np.ascontiguousarray(np.rot90(rgb, self.rotation_deg // 90))


Frames: TypeAlias = RGB | FrameStack
"""uint8 (frame, height, width, 3), upright RGB."""


class FramePicker:
    """Keep the frames nearest to the target times of a plan; a tie goes to the earlier.

    Args:
        targets_s: float64 (frame,), seconds, ascending.
        limits: Largest numbers of pixels and frames, and of bytes of the kept ones.
        entry_s: Time of the keyframe from which decoding may start; minus infinity to skip nothing.
        clip: Path of the clip, for errors.

    Attributes:
        targets_s: The plan.
        rotation_deg: Rotation of the first frame, see ``VideoInfo``; None before it.
    """

    def __init__(
        self,
        targets_s: npt.NDArray[np.float64],
        limits: MediaLimits,
        entry_s: float = -inf,
        clip: str = "",
    ) -> None:
        self.targets_s = targets_s
        self.rotation_deg: int | None = None
        self._limits = limits
        self._entry_s = entry_s
        self._clip = clip
        self._offered = 0
        self._pictures: RGB | None = None  # all that may be needed, filled one by one
        self._yuv: _Yuv | None = None
        self._indices: list[int] = []
        self._times_s: list[float] = []
        self._previous: tuple[VideoFrame, float] | None = None
        self._size: tuple[int, int] | None = None

    @property
    def done(self) -> bool:
        """Whether no later frame can change the choice."""
        return len(self._times_s) == len(self.targets_s)

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether a packet is shown before the keyframe: no later frame needs it.

        This includes frames that follow the keyframe in the file: no target lies before it.
        """
        return begin_s < self._entry_s - _TIE_S

    def add(self, frame: VideoFrame, time_s: float | None) -> None:
        """Offer the next frame; one that goes back in time is ignored.

        Args:
            frame: The decoded frame.
            time_s: Seconds on the clip's clock; None if unknown: the time of the frame before.

        Raises:
            MediaTooLarge: More pixels, frames or memory than allowed.
        """
        self._offered += 1
        self._limits.check("max_frames", self._offered)
        self._limits.check("max_pixels", frame.width * frame.height)
        if time_s is None:
            time_s = self._previous[1] if self._previous else 0.0
        if self.rotation_deg is None:
            self.rotation_deg = upright_deg(frame.rotation)
            self._size = (frame.width, frame.height)
            size = frame.width * frame.height * 3  # it may have changed since the header
            self._limits.check("max_output_bytes", len(self.targets_s) * size)
        if self._previous is not None and time_s < self._previous[1]:
            return
        while not self.done and (target_s := self.targets_s[len(self._times_s)]) <= time_s:
            before = self._previous
            if before is not None and target_s - before[1] <= time_s - target_s + _TIE_S:
                self._keep(*before)
            else:
                self._keep(frame, time_s)
        self._previous = (frame, time_s)

    def finish(self) -> tuple[FrameStack, npt.NDArray[np.float64]] | None:
        """Assign the last frame to the remaining targets, and return the choice.

        Returns:
            The frames and float64 (frame,) their times in seconds; None if there was no frame or no
            target.
        """
        if self._previous is None or not self.targets_s.size:
            return None
        while not self.done:
            self._keep(*self._previous)
        return self._stack(), np.array(self._times_s, dtype=np.float64)

    def _stack(self) -> FrameStack:
        assert self._pictures is not None
        assert self.rotation_deg is not None
        indices = np.array(self._indices, dtype=np.intp)
        return FrameStack(self._pictures, indices, self._yuv, self.rotation_deg, self._clip)

    def _keep(self, frame: VideoFrame, time_s: float) -> None:
        if self._times_s and self._times_s[-1] == time_s:
            self._indices.append(self._indices[-1])
        else:
            self._add(frame)
        self._times_s.append(time_s)

    def _add(self, frame: VideoFrame) -> None:
        """Copy a picture: keeping the frame would keep the decoder's buffers from being reused."""
        at = self._indices[-1] + 1 if self._indices else 0
        yuv = _Yuv.of(frame)
        if self._pictures is None:
            self._yuv = yuv
        elif self._yuv is not None and self._yuv != yuv:  # from here on, all are kept as RGB
            converted = self._stack()
            self._pictures = np.empty((len(self.targets_s), *converted.shape[1:]), dtype=np.uint8)
            self._pictures[self._indices] = converted
            self._yuv = None
        picture = self._upright(frame) if self._yuv is None else frame.to_ndarray()
        if self._pictures is None:
            self._pictures = np.empty((len(self.targets_s), *picture.shape), dtype=np.uint8)
        self._pictures[at] = picture
        self._indices.append(at)

    def _upright(self, frame: VideoFrame) -> RGB:
        """Return the frame as upright RGB in the size of the first frame."""
        assert self._size is not None
        assert self.rotation_deg is not None
        width, height = self._size
        rgb = frame.to_ndarray(format="rgb24", width=width, height=height)
        return np.rot90(rgb, self.rotation_deg // 90)
