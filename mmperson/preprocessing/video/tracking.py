"""Track faces over the frames of a clip, choose the speaker and crop the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import UsageError
from mmperson.preprocessing.video.frames import check_frames, halve

if TYPE_CHECKING:
    from mmperson.media.video import Frames
    from mmperson.preprocessing.video.faces import Face, FaceDetector

RGB = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Frames may be seconds apart. In that time, a head moves by about its own width and leans forward,
# but its size seldom doubles.
MAX_MOVE: Final = 1.5  # distance of centres, relative to the mean side of both boxes
MAX_ZOOM: Final = 2.0  # ratio of their sides

LASTING: Final = 0.25  # minimum share of the frames in which a face is counted as a person
TIE: Final = 0.8  # faces of at least this prominence, relative to the maximum, may be the speaker

# Position of the eyes in a crop, relative to its side. In 30 clips, the eyes are 0.39 mean sides of
# the box apart and 0.12 above its centre: the crop is 1.6 mean sides wide, centred on the box.
EYES_APART: Final = 0.25
EYES_ROW: Final = 0.42
# The distance from eyes to mouth is about that between the eyes. In a face that is turned away it
# is larger, and then determines the scale.
MAX_EYES_TO_MOUTH: Final = 1.2

_MOUTH_SIDE: Final = 64
_MOUTH: Final = (slice(36, 52), slice(20, 44))  # rows and columns of the mouth in a crop of 64


@dataclass(frozen=True)
class FaceTrack:
    """The speaker's face over the frames of a clip.

    Attributes:
        boxes: float32 (frame, 4), see ``Face``; interpolated where the face was not detected,
            constant at the ends. None if it was never detected.
        landmarks: float32 (frame, 5, 2), likewise.
        seen: bool (frame,), whether the face was detected.
        people: Number of lasting faces, the speaker's included. A portrait on the wall counts too.
        warnings: One sentence each.
    """

    boxes: Floats | None
    landmarks: Floats | None
    seen: npt.NDArray[np.bool_]
    people: int
    warnings: tuple[str, ...] = ()


def track_speaker(frames: Frames, detector: FaceDetector) -> FaceTrack:
    """Track the face of the speaker.

    The speaker has the most prominent face, by size and number of frames. Among faces of similar
    prominence, it is the one whose mouth moves most. The audio is not used.

    Args:
        frames: uint8 (frame, height, width, 3), upright RGB, in order of time.
        detector: Detects faces in one frame.

    Raises:
        UsageError: The frames have another shape or dtype, or are empty.
    """
    check_frames(frames)
    tracks = link_faces([detector.detect(frame) for frame in frames])
    count = len(frames)
    if not tracks:
        warning = f"No face was found in {_frames(count)}."
        return FaceTrack(None, None, np.zeros(count, dtype=np.bool_), 0, (warning,))
    speaker = _choose(frames, tracks)
    people = sum(track is speaker or len(track.faces) >= LASTING * count for track in tracks)
    warnings = []
    if people > 1:
        warnings.append(
            f"{people} faces are visible for some time; the largest one is taken as the speaker, "
            "among similar ones the one whose mouth moves most."
        )
    if len(speaker.faces) < count:
        warnings.append(
            f"The speaker's face was found in {len(speaker.faces)} of {_frames(count)}; "
            "in the others its position is interpolated."
        )
    seen = np.zeros(count, dtype=np.bool_)
    seen[speaker.times] = True
    boxes = _fill(speaker, [face.box for face in speaker.faces], count)
    landmarks = _fill(speaker, [face.landmarks for face in speaker.faces], count)
    return FaceTrack(boxes, landmarks, seen, people, tuple(warnings))


def crop_faces(frames: Frames, track: FaceTrack, size: int) -> RGB:
    """Crop the tracked face in every frame, upright and of the same size.

    The midpoint of the eyes is at (0.5, 0.42) of the crop. The eyes are level and a quarter of the
    side apart, or closer if the head is turned. The crop is about 1.6 times as wide as the box;
    outside the frame, its border is repeated.

    Args:
        frames: uint8 (frame, height, width, 3), the tracked frames.
        track: From ``track_speaker``.
        size: Side of a crop in pixels.

    Returns:
        uint8 (frame, size, size, 3), RGB.

    Raises:
        UsageError: The track has no face or another number of frames, or ``size`` is below 1.
    """
    check_frames(frames)
    if track.landmarks is None:
        raise UsageError("There is no face to crop.", hint="Check that track.boxes is not None.")
    if len(track.landmarks) != len(frames) or size < 1:
        raise UsageError(
            f"The track has {_frames(len(track.landmarks))} for {_frames(len(frames))} and the "
            f"size is {size}; the numbers must be equal and the size at least 1."
        )
    pairs = zip(frames, track.landmarks, strict=True)
    return np.stack([_crop(frame, landmarks, size) for frame, landmarks in pairs])


@dataclass
class LinkedFaces:
    """One face over time.

    Attributes:
        times: Indices of the frames with a detection, ascending.
        faces: The detections.
    """

    times: list[int]
    faces: list[Face]


def link_faces(detections: Sequence[Sequence[Face]]) -> list[LinkedFaces]:
    """Link nearby faces of successive frames greedily, the nearest first.

    Args:
        detections: The faces of each frame.

    Returns:
        Tracks in order of their first frames; every face belongs to exactly one.
    """
    tracks: list[LinkedFaces] = []
    for time, faces in enumerate(detections):
        pairs = sorted(
            (distance, number, index)
            for number, track in enumerate(tracks)
            for index, face in enumerate(faces)
            if (distance := _distance(track.faces[-1], face)) is not None
        )
        linked: set[int] = set()
        for _, number, index in pairs:
            if tracks[number].times[-1] < time and index not in linked:
                tracks[number].times.append(time)
                tracks[number].faces.append(faces[index])
                linked.add(index)
        for index, face in enumerate(faces):
            if index not in linked:
                tracks.append(LinkedFaces([time], [face]))
    return tracks


def _distance(one: Face, other: Face) -> float | None:
    """Return the distance relative to the faces' size; None if they cannot be the same."""
    sides = _side(one), _side(other)
    shift = (one.box[:2] + one.box[2:] - other.box[:2] - other.box[2:]) / 2
    distance = float(np.hypot(*shift)) / (sum(sides) / 2)
    same = distance <= MAX_MOVE and max(sides) <= MAX_ZOOM * min(sides)
    return distance if same else None


def _side(face: Face) -> float:
    """Return the geometric mean of a box's sides, in pixels."""
    return float(np.sqrt(np.prod(face.box[2:] - face.box[:2])))


def _choose(frames: Frames, tracks: list[LinkedFaces]) -> LinkedFaces:
    """Return the most prominent track; among similar ones, that with the most mouth motion."""
    # The sum of the sides is proportional to mean side times share of the frames.
    prominence = [sum(map(_side, track.faces)) for track in tracks]
    least = TIE * max(prominence)
    rivals = [track for track, value in zip(tracks, prominence, strict=True) if value >= least]
    if len(rivals) == 1:
        return rivals[0]
    return max(rivals, key=lambda track: _mouth_motion(frames, track))


def _mouth_motion(frames: Frames, track: LinkedFaces) -> float:
    """Return the mean change of the mouth's grey levels between successive detections."""
    if len(track.times) < 2:
        return 0.0
    crops = [
        _crop(frames[time], face.landmarks, _MOUTH_SIDE)[_MOUTH].mean(axis=-1)
        for time, face in zip(track.times, track.faces, strict=True)
    ]
    return float(np.abs(np.diff(crops, axis=0)).mean())


def _fill(track: LinkedFaces, values: list[Floats], count: int) -> Floats:
    """Interpolate linearly between detections, constant at the ends."""
    known = np.stack(values)
    columns = known.reshape(len(known), -1).T
    times = np.arange(count)
    filled = [np.interp(times, track.times, column) for column in columns]
    return np.stack(filled, axis=1).astype(np.float32).reshape(count, *known.shape[1:])


def _crop(frame: RGB, landmarks: Floats, size: int) -> RGB:
    """Return uint8 (size, size, 3), the face upright."""
    import cv2  # Here: only video needs it.

    (left, right), mouth = landmarks[:2], landmarks[3:].mean(axis=0)
    middle = (left + right) / 2
    across, down = right - left, mouth - middle
    apart = max(float(np.hypot(*across)), float(np.hypot(*down)) / MAX_EYES_TO_MOUTH, 1.0)
    # A large face is halved, warped at a higher resolution and then averaged: sampling alone would
    # make fine patterns flicker.
    frame, halved = halve(frame, apart / (EYES_APART * size))
    middle, apart = middle / halved, apart / halved
    finer = max(1, round(apart / (EYES_APART * size)))
    scale = EYES_APART * size * finer / apart
    angle = float(np.arctan2(across[1], across[0]))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]])
    # OpenCV's coordinates refer to pixel centres, hence the half.
    target = np.array([0.5, EYES_ROW]) * size * finer - 0.5
    matrix = np.column_stack([rotation, target - rotation @ (middle - 0.5)])
    side = size * finer
    crop = cv2.warpAffine(frame, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    if finer > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, dtype=np.uint8)


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
