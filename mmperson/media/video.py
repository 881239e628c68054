"""Choose frames by time and turn them into upright RGB arrays.

Frames are chosen while they stream past: each target time keeps the nearer of the frames before and
after it, so that memory holds only chosen frames and variable frame rates need no special case.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmperson.media.probe import upright_deg

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from mmperson.media.limits import MediaLimits

RGB = npt.NDArray[np.uint8]

# Rounding must not decide between two frames as near: as many frames as there are gives each once.
_TIE_S = 1e-6
_LEAST_LEFT = 2  # How many times too large a halved picture stays, at least.


def plan_frames(start_s: float, end_s: float, count: int) -> npt.NDArray[np.float64]:
    """Return the centres of equal parts of a clip.

    Args:
        start_s: When the first frame is shown, in seconds.
        end_s: When the last frame ends, in seconds.
        count: Number of parts; 0 gives none.

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
        times_s: float64 (frame,), when frames are shown, ascending; one or more.
        targets_s: float64 (target,), seconds.

    Returns:
        (target,), index of the nearest frame; of two as near, the earlier.

    >>> nearest_frames(np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.6]))
    array([0, 2])
    """
    after = np.searchsorted(times_s, targets_s).clip(0, len(times_s) - 1)
    before = (after - 1).clip(0)
    earlier = targets_s - times_s[before] <= times_s[after] - targets_s + _TIE_S
    return np.where(earlier, before, after)


def halve(picture: RGB, ratio: float) -> tuple[RGB, int]:
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


class FramePicker:
    """Keep the frames nearest to the target times of a plan; of two as near, the earlier.

    Args:
        targets_s: float64 (frame,), seconds, ascending.
        limits: Pixels, frames and memory of those kept beyond which the clip is refused.
        entry_s: When the keyframe is shown from which decoding may start; minus infinity to skip
            nothing.

    Attributes:
        targets_s: The plan.
        rotation_deg: Rotation of the first frame, see ``VideoInfo``; None before it.
    """

    def __init__(
        self, targets_s: npt.NDArray[np.float64], limits: MediaLimits, entry_s: float = -inf
    ) -> None:
        self.targets_s = targets_s
        self.rotation_deg: int | None = None
        self._limits = limits
        self._entry_s = entry_s
        self._offered = 0
        self._rgb: RGB | None = None  # all frames, filled one by one
        self._times_s: list[float] = []
        self._previous: tuple[VideoFrame, float] | None = None
        self._size: tuple[int, int] | None = None

    @property
    def done(self) -> bool:
        """Whether no later frame can change the choice."""
        return len(self._times_s) == len(self.targets_s)

    def skips(self, begin_s: float, end_s: float) -> bool:
        """Return whether a packet is shown before the keyframe, of which no later frame has need.

        Frames that follow the keyframe in the file and are shown before it are not wanted either:
        no target lies before it.
        """
        return begin_s < self._entry_s - _TIE_S

    def add(self, frame: VideoFrame, time_s: float | None) -> None:
        """Offer the next frame in order of time; one that goes back in time is ignored.

        Args:
            frame: The decoded frame.
            time_s: Seconds on the clip's clock; None if unknown, then it shares the time of the one
                before.

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

    def finish(self) -> tuple[RGB, npt.NDArray[np.float64]] | None:
        """Give the targets after the last frame that frame, and return the choice.

        Returns:
            uint8 (frame, height, width, 3) upright RGB and float64 (frame,) their times in seconds,
            or None if there was no frame at all, or none was wanted.
        """
        if self._previous is None or not self.targets_s.size:
            return None
        while not self.done:
            self._keep(*self._previous)
        assert self._rgb is not None
        return self._rgb, np.array(self._times_s, dtype=np.float64)

    def _keep(self, frame: VideoFrame, time_s: float) -> None:
        at = len(self._times_s)
        if self._rgb is not None and self._times_s[-1] == time_s:
            self._rgb[at] = self._rgb[at - 1]
        else:
            picture = self._upright(frame)
            if self._rgb is None:
                self._rgb = np.empty((len(self.targets_s), *picture.shape), dtype=np.uint8)
            self._rgb[at] = picture
        self._times_s.append(time_s)

    def _upright(self, frame: VideoFrame) -> RGB:
        """Return the frame as RGB, turned, in the size of the first frame."""
        assert self._size is not None
        assert self.rotation_deg is not None
        width, height = self._size
        rgb = frame.to_ndarray(format="rgb24", width=width, height=height)
        return np.rot90(rgb, self.rotation_deg // 90)
