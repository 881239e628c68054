"""Follow faces over the frames of a clip, choose the person who speaks, and cut that face out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import UsageError
from mmperson.preprocessing.video.frames import halve

if TYPE_CHECKING:
    from mmperson.media.video import Frames
    from mmperson.preprocessing.video.faces import Face, FaceDetector

RGB = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Frames may lie seconds apart. In that time a head moves by about its own width and leans forward,
# but it seldom doubles in size.
MAX_MOVE: Final = 1.5  # distance of centres, in mean sides of the two boxes
MAX_ZOOM: Final = 2.0  # ratio of their sides

LASTING: Final = 0.25  # share of the frames in which a person is seen; those seen less pass by
TIE: Final = 0.8  # a face at least so prominent, beside the most prominent, may be the speaker's

# Where crops have the eyes, as shares of the side. Over 30 clips the eyes are 0.39 of a box's mean
# side apart and 0.12 above its middle; so the crop is 1.6 mean sides wide, the box in its middle.
EYES_APART: Final = 0.25
EYES_ROW: Final = 0.42
# Between a face's eyes and its mouth lies about what lies between the eyes, and more in a picture
# of a face that is turned away: then this distance says how large the face is.
MAX_EYES_TO_MOUTH: Final = 1.2

_MOUTH_SIDE: Final = 64
_MOUTH: Final = (slice(36, 52), slice(20, 44))  # rows and columns of the mouth in a crop of 64


@dataclass(frozen=True)
class FaceTrack:
    """The speaker's face over the frames of a clip.

    Attributes:
        boxes: float32 (frame, 4), see ``Face``; where the face was not seen, interpolated between
            the frames before and after, or held. None if it was never seen.
        landmarks: float32 (frame, 5, 2), see ``Face``, filled likewise; None if never seen.
        seen: bool (frame,), whether the face was seen.
        people: How many faces are seen for some time, the speaker's included. A picture of a face
            on the wall counts too.
        warnings: What is doubtful; one sentence each.
    """

    boxes: Floats | None
    landmarks: Floats | None
    seen: npt.NDArray[np.bool_]
    people: int
    warnings: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the frames in which the face was seen, [0, 1]."""
        return float(self.seen.mean())


def track_speaker(frames: Frames, detector: FaceDetector) -> FaceTrack:
    """Find the face of the person who speaks.

    That is the largest face that is seen in most frames. Of several about as large, it is the one
    whose mouth changes most; the sound is not consulted.

    Args:
        frames: uint8 (frame, height, width, 3), upright RGB, in order of time.
        detector: Finds faces in one frame.

    Raises:
        UsageError: There is no frame, or frames have another shape or type.
    """
    _check_frames(frames)
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
            f"{people} faces are in view for some time; the speaker is taken to be the one that is "
            "largest or, among equals, moves the mouth most."
        )
    if len(speaker.faces) < count:
        warnings.append(
            f"The speaker's face was found in {len(speaker.faces)} of {_frames(count)}; "
            "elsewhere its place is a guess."
        )
    seen = np.zeros(count, dtype=np.bool_)
    seen[speaker.times] = True
    boxes = _fill(speaker, [face.box for face in speaker.faces], count)
    landmarks = _fill(speaker, [face.landmarks for face in speaker.faces], count)
    return FaceTrack(boxes, landmarks, seen, people, tuple(warnings))


def crop_faces(frames: Frames, track: FaceTrack, size: int) -> RGB:
    """Cut the tracked face out of every frame, upright and as large as in every other.

    The middle of the eyes comes to (0.5, 0.42) of the crop, on a level line, a quarter of the side
    apart; closer together if the head is turned away. The crop shows about 1.6 times the face's
    box; beyond the frame, its border is repeated.

    Args:
        frames: uint8 (frame, height, width, 3), the frames that were tracked.
        track: Where the face is.
        size: Side of a crop in pixels.

    Returns:
        uint8 (frame, size, size, 3), RGB.

    Raises:
        UsageError: No face was tracked, the track is of other frames, or ``size`` is below 1.
    """
    _check_frames(frames)
    if track.landmarks is None:
        raise UsageError(
            "There is no face to cut out.", hint="Look first whether track.boxes is None."
        )
    if len(track.landmarks) != len(frames) or size < 1:
        raise UsageError(
            f"The track has {_frames(len(track.landmarks))} for {_frames(len(frames))} and the "
            f"size is {size}; as many frames and a size of 1 or more are needed."
        )
    crops = [
        _crop(frame, marks, size) for frame, marks in zip(frames, track.landmarks, strict=True)
    ]
    return np.stack(crops)


@dataclass
class LinkedFaces:
    """One face over time.

    Attributes:
        times: Numbers of the frames in which it was seen, ascending.
        faces: What was seen there.
    """

    times: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)

    def add(self, time: int, face: Face) -> None:
        """Add what a later frame shows."""
        self.times.append(time)
        self.faces.append(face)


def link_faces(detections: Sequence[Sequence[Face]]) -> list[LinkedFaces]:
    """Join the faces of successive frames that are near each other, the nearest first.

    Args:
        detections: The faces of each frame.

    Returns:
        Every face is in exactly one of them; in order of their first frames.
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
                tracks[number].add(time, faces[index])
                linked.add(index)
        for index, face in enumerate(faces):
            if index not in linked:
                tracks.append(LinkedFaces([time], [face]))
    return tracks


def _distance(one: Face, other: Face) -> float | None:
    """Return how far a face moved, in its own sides; None if it cannot be the same."""
    sides = _side(one), _side(other)
    shift = (one.box[:2] + one.box[2:] - other.box[:2] - other.box[2:]) / 2
    distance = float(np.hypot(*shift)) / (sum(sides) / 2)
    same = distance <= MAX_MOVE and max(sides) <= MAX_ZOOM * min(sides)
    return distance if same else None


def _side(face: Face) -> float:
    """Return the geometric mean of a box's sides, in pixels."""
    return float(np.sqrt(np.prod(face.box[2:] - face.box[:2])))


def _choose(frames: Frames, tracks: list[LinkedFaces]) -> LinkedFaces:
    """Return the most prominent; of several nearly as prominent, the one whose mouth moves most."""
    # The mean side times the share of the frames is the sum of the sides, but for a factor.
    prominence = [sum(map(_side, track.faces)) for track in tracks]
    least = TIE * max(prominence)
    rivals = [track for track, value in zip(tracks, prominence, strict=True) if value >= least]
    if len(rivals) == 1:
        return rivals[0]
    return max(rivals, key=lambda track: _mouth_motion(frames, track))


def _mouth_motion(frames: Frames, track: LinkedFaces) -> float:
    """Return the mean change of the mouth's grey levels between successive sightings."""
    if len(track.times) < 2:
        return 0.0
    crops = [
        _crop(frames[time], face.landmarks, _MOUTH_SIDE)[_MOUTH].mean(axis=-1)
        for time, face in zip(track.times, track.faces, strict=True)
    ]
    return float(np.abs(np.diff(crops, axis=0)).mean())


def _fill(track: LinkedFaces, values: list[Floats], count: int) -> Floats:
    """Return values for every frame: linear between sightings, constant outside."""
    known = np.stack(values)
    columns = known.reshape(len(known), -1).T
    times = np.arange(count)
    filled = [np.interp(times, track.times, column) for column in columns]
    return np.stack(filled, axis=1).astype(np.float32).reshape(count, *known.shape[1:])


def _crop(frame: RGB, landmarks: Floats, size: int) -> RGB:
    """Return uint8 (size, size, 3), the face upright."""
    import cv2  # Here, because networks that read no video need not wait for it.

    (left, right), mouth = landmarks[:2], landmarks[3:].mean(axis=0)
    middle = (left + right) / 2
    across, down = right - left, mouth - middle
    apart = max(float(np.hypot(*across)), float(np.hypot(*down)) / MAX_EYES_TO_MOUTH, 1.0)
    # A large face is averaged before it is drawn, and drawn larger than it will be: fine patterns
    # that are only sampled would flicker from frame to frame.
    frame, shrunk = halve(frame, apart / (EYES_APART * size))
    middle, apart = middle / shrunk, apart / shrunk
    finer = max(1, round(apart / (EYES_APART * size)))
    scale = EYES_APART * size * finer / apart
    angle = float(np.arctan2(across[1], across[0]))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    # Pixels are squares whose middles OpenCV counts: hence the half.
    target = np.array([0.5, EYES_ROW]) * size * finer - 0.5
    matrix = np.column_stack([turn, target - turn @ (middle - 0.5)])
    side = size * finer
    crop = cv2.warpAffine(frame, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    if finer > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, dtype=np.uint8)


def _check_frames(frames: Frames) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise UsageError(
            f"The frames are {frames.dtype} {frames.shape}; "
            "they must be uint8 (frame, height, width, 3), one or more."
        )


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
