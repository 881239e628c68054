import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mmperson.errors import BundleCorrupt, BundleNotFound, UsageError
from mmperson.media import read_clip
from mmperson.preprocessing.video import faces
from mmperson.preprocessing.video.faces import (
    MODEL_BYTES,
    MODEL_FILE,
    MODEL_SHA256,
    Face,
    FaceDetector,
)
from mmperson.preprocessing.video.tracking import FaceTrack, crop_faces, link_faces, track_speaker

# Eyes, nose and corners of the mouth in a box of 80 x 100.
MARKS = np.array([[24, 40], [56, 40], [40, 60], [28, 75], [52, 75]], dtype=np.float32)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def demo_frames(demo: Path) -> npt.NDArray[np.uint8]:
    frames = read_clip(demo, frames=2).frames
    assert frames is not None
    return frames


def frames_of(path: Path, count: int = 8) -> npt.NDArray[np.uint8]:
    frames = read_clip(path, frames=count).frames
    assert frames is not None
    return frames


def make_face(x: float, y: float, scale: float = 1.0, score: float = 0.9) -> Face:
    """A face whose box has its upper left corner at x, y."""
    corner = np.array([x, y], dtype=np.float32)
    box = np.concatenate([corner, corner + np.array([80, 100], dtype=np.float32) * scale])
    return Face(box, score, corner + MARKS * np.float32(scale))


class Script:
    """Stands in for a detector: says what each frame shows."""

    def __init__(self, detections: Sequence[Sequence[Face]]) -> None:
        self._detections = iter(detections)

    def detect(self, frame: npt.NDArray[np.uint8]) -> list[Face]:
        return list(next(self._detections))


def grey(count: int, height: int = 300, width: int = 500) -> npt.NDArray[np.uint8]:
    return np.full((count, height, width, 3), 128, dtype=np.uint8)


# Detection


def test_model_in_the_tree_is_the_expected_one(project_root: Path) -> None:
    content = (project_root / "weights" / "face-detector" / MODEL_FILE).read_bytes()
    assert len(content) == MODEL_BYTES < 4_000_000
    assert hashlib.sha256(content).hexdigest() == MODEL_SHA256


def test_notice_of_the_authors_travels_with_the_model(project_root: Path) -> None:
    folder = project_root / "weights" / "face-detector"
    licence = (folder / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2019 StarClouds" in licence
    assert "The above copyright notice and this permission notice shall be included" in licence
    assert MODEL_SHA256 in (folder / "README.md").read_text(encoding="utf-8")


def test_the_face_of_the_demo_is_found(
    detector: FaceDetector, demo_frames: npt.NDArray[np.uint8]
) -> None:
    (face,) = detector.detect(demo_frames[0])
    assert face.score > 0.7
    assert face.box.dtype == face.landmarks.dtype == np.float32
    assert face.landmarks.shape == (5, 2)
    left, top, right, bottom = face.box
    assert ((face.landmarks > (left, top)) & (face.landmarks < (right, bottom))).all()
    eyes, nose, mouth = face.landmarks[:2], face.landmarks[2], face.landmarks[3:]
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
    assert eyes[0, 0] < nose[0] < eyes[1, 0]
    assert mouth[0, 0] < mouth[1, 0]


def test_boxes_are_in_pixels_of_the_frame(
    detector: FaceDetector, demo_frames: npt.NDArray[np.uint8]
) -> None:
    frame = demo_frames[0]
    (face,) = detector.detect(frame)
    side = face.box[2] - face.box[0]
    (double,) = detector.detect(frame.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_allclose(double.box / 2, face.box, atol=0.03 * side)
    np.testing.assert_allclose(double.landmarks / 2, face.landmarks, atol=0.03 * side)
    below = np.concatenate([np.zeros_like(frame), frame])
    (shifted,) = detector.detect(below)
    moved = face.box + np.array([0, 1, 0, 1]) * frame.shape[0]
    np.testing.assert_allclose(shifted.box, moved, atol=0.08 * side)


def test_a_mirrored_face_has_mirrored_landmarks(
    detector: FaceDetector, demo_frames: npt.NDArray[np.uint8]
) -> None:
    (face,) = detector.detect(demo_frames[0])
    (mirrored,) = detector.detect(np.ascontiguousarray(demo_frames[0][:, ::-1]))
    expected = face.landmarks[[1, 0, 2, 4, 3]]
    expected = np.stack([demo_frames.shape[2] - expected[:, 0], expected[:, 1]], axis=1)
    side = face.box[2] - face.box[0]
    np.testing.assert_allclose(mirrored.landmarks, expected, atol=0.05 * side)


def test_landmarks_of_a_face_that_the_edge_cuts_stay_in_place(
    detector: FaceDetector, demo_frames: npt.NDArray[np.uint8]
) -> None:
    (whole,) = detector.detect(demo_frames[0])
    side = whole.box[2] - whole.box[0]
    cut = int(whole.box[0] + 0.2 * side)
    (face,) = detector.detect(np.ascontiguousarray(demo_frames[0][:, cut:]))
    assert face.box[0] >= 0
    np.testing.assert_allclose(
        face.landmarks + np.array([cut, 0]), whole.landmarks, atol=0.1 * side
    )


def test_a_face_in_view_does_not_jump_when_the_picture_moves_by_a_pixel(
    detector: FaceDetector, demo_frames: npt.NDArray[np.uint8]
) -> None:
    places = []
    for step in range(8):
        (face,) = detector.detect(np.ascontiguousarray(demo_frames[0][step:, step:]))
        places.append(face.landmarks + step)
    side = face.box[2] - face.box[0]
    assert np.ptp(places, axis=0).max() < 0.03 * side


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (37, 91), (32, 320)])
def test_frames_of_any_shape_without_a_face_have_none(
    detector: FaceDetector, shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros_like(noise)) == []


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_other_arrays_are_refused(detector: FaceDetector, frame: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match="uint8"):
        detector.detect(frame)


@pytest.mark.parametrize("options", [{"threads": 0}, {"long_side": 31}])
def test_bad_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1 and 32"):
        FaceDetector(**options)


def test_a_missing_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="fetch_face_detector"):
        FaceDetector(tmp_path / MODEL_FILE)


@pytest.mark.parametrize("change", ["bit", "length"])
def test_a_changed_model_is_never_loaded(project_root: Path, tmp_path: Path, change: str) -> None:
    content = bytearray((project_root / "weights" / "face-detector" / MODEL_FILE).read_bytes())
    if change == "bit":
        content[len(content) // 2] ^= 1
    else:
        content.append(0)
    path = tmp_path / MODEL_FILE
    path.write_bytes(content)
    with pytest.raises(BundleCorrupt, match="not the shipped centerface"):
        FaceDetector(path)


# Tracking


def test_a_moving_face_is_one_track_and_a_jump_begins_another() -> None:
    moving = [[make_face(10 + 60 * time, 50)] for time in range(4)]
    (track,) = link_faces(moving)
    assert track.times == [0, 1, 2, 3]
    far = link_faces([[make_face(0, 0)], [make_face(300, 0)]])
    zoomed = link_faces([[make_face(0, 0)], [make_face(0, 0, scale=3)]])
    assert [len(far), len(zoomed)] == [2, 2]


def test_crossing_detections_keep_to_their_faces() -> None:
    one, two = make_face(0, 0), make_face(150, 0)
    tracks = link_faces([[one, two], [two, one], [], [one, two]])
    assert [track.times for track in tracks] == [[0, 1, 3], [0, 1, 3]]
    assert all(face is one for face in tracks[0].faces)
    assert all(face is two for face in tracks[1].faces)


def test_gaps_are_interpolated_and_ends_held() -> None:
    shown = [[], [make_face(10, 20)], [], [make_face(30, 60)], []]
    track = track_speaker(grey(5), Script(shown))
    assert track.boxes is not None
    assert track.landmarks is not None
    np.testing.assert_array_equal(track.boxes[:, 0], [10, 10, 20, 30, 30])
    np.testing.assert_array_equal(track.landmarks[:, 0, 1], [60, 60, 80, 100, 100])
    np.testing.assert_array_equal(track.seen, [False, True, False, True, False])
    assert track.seen.mean() == 0.4
    assert track.people == 1
    assert track.boxes.dtype == track.landmarks.dtype == np.float32
    (warning,) = track.warnings
    assert "2 of 5 frames" in warning


def test_no_face_is_a_warning_and_no_error() -> None:
    track = track_speaker(grey(3), Script([[], [], []]))
    assert track.boxes is None
    assert track.landmarks is None
    assert (track.seen.mean(), track.people) == (0.0, 0)
    (warning,) = track.warnings
    assert "3 frames" in warning
    with pytest.raises(UsageError, match=r"no face.*track\.boxes"):
        crop_faces(grey(3), track, 32)


def test_the_larger_face_is_the_speaker_and_passers_by_do_not_count() -> None:
    small, large = make_face(0, 0, scale=0.5), make_face(200, 0)
    shown = [[small, large] for _ in range(8)]
    shown[3] = [small, large, make_face(400, 0)]
    track = track_speaker(grey(8), Script(shown))
    assert track.boxes is not None
    np.testing.assert_array_equal(track.boxes[3], large.box)
    assert track.people == 2
    assert len(track.warnings) == 1
    assert track.warnings[0].startswith("2 faces")


def test_a_face_that_stays_beats_a_larger_one_that_leaves() -> None:
    steady, brief = make_face(0, 0), make_face(200, 0, scale=1.5)
    track = track_speaker(grey(8), Script([[steady, brief]] * 2 + [[steady]] * 6))
    assert track.seen.mean() == 1.0


@pytest.mark.parametrize("speaks", [0, 1])
def test_of_two_faces_as_large_the_one_whose_mouth_moves_speaks(speaks: int) -> None:
    faces = [make_face(20, 50), make_face(300, 50)]
    frames = grey(6)
    mouth = faces[speaks].landmarks[3:].mean(axis=0).astype(int)
    other = faces[1 - speaks].landmarks[:2].mean(axis=0).astype(int)
    for x, y in (mouth, other):  # the other's eyes move as much: that is no speech
        frames[::2, y - 6 : y + 6, x - 10 : x + 10] = 0
    track = track_speaker(frames, Script([faces] * 6))
    assert track.boxes is not None
    np.testing.assert_array_equal(track.boxes[0], faces[speaks].box)


def test_a_face_is_followed_as_far_as_it_can_move_and_no_further() -> None:
    side = float(np.sqrt(80 * 100))
    for scale, moves, ends in ((1.0, 1.49, 1.51), (1.0, -1.49, -1.51)):
        for shift, tracks in ((moves, 1), (ends, 2)):
            pair = [[make_face(500, 0)], [make_face(500 + shift * side, 0, scale)]]
            assert len(link_faces(pair)) == tracks, shift
    # The centre stays; only the size changes.
    for scale, tracks in ((1.98, 1), (2.02, 2), (1 / 1.98, 1), (1 / 2.02, 2)):
        x, y = 500 + 40 * (1 - scale), 500 + 50 * (1 - scale)
        pair = [[make_face(500, 500)], [make_face(x, y, scale)]]
        assert len(link_faces(pair)) == tracks, scale


@pytest.mark.parametrize(("frames", "people"), [(2, 2), (1, 1)])
def test_who_is_seen_in_a_quarter_of_the_frames_is_a_person(frames: int, people: int) -> None:
    large, small = make_face(200, 0), make_face(0, 0, scale=0.5)
    shown = [[large, small] if time < frames else [large] for time in range(8)]
    assert track_speaker(grey(8), Script(shown)).people == people


@pytest.mark.parametrize(("scale", "tied"), [(0.82, True), (0.78, False)])
def test_a_face_four_fifths_as_large_may_be_the_speaker(scale: float, tied: bool) -> None:
    faces = [make_face(300, 50), make_face(20, 50, scale)]
    frames = grey(6)
    x, y = faces[1].landmarks[3:].mean(axis=0).astype(int)
    frames[::2, y - 5 : y + 5, x - 8 : x + 8] = 0
    track = track_speaker(frames, Script([faces] * 6))
    assert track.boxes is not None
    np.testing.assert_array_equal(track.boxes[0], faces[tied].box)


@pytest.mark.parametrize(("row", "column", "inside"), [
    (46, 32, True), (37, 32, True), (50, 32, True), (46, 21, True), (46, 42, True),
    (33, 32, False), (54, 32, False), (46, 17, False), (46, 46, False),
])  # fmt: skip
def test_only_the_region_of_the_mouth_is_watched(row: int, column: int, inside: bool) -> None:
    moving, still = make_face(20, 50), make_face(300, 50)
    apart = 32 / 16  # pixels of the frame per pixel of a crop of 64: the eyes are 16 apart
    eyes = moving.landmarks[:2].mean(axis=0)
    x, y = eyes + apart * (np.array([column, row]) - np.array([32, 0.42 * 64]))
    frames = grey(6)
    frames[::2, round(y) - 1 : round(y) + 1, round(x) - 1 : round(x) + 1] = 0
    other = still.landmarks[3:].mean(axis=0).astype(int)
    frames[::2, other[1], other[0]] = 110  # moves less than a region that is watched
    track = track_speaker(frames, Script([[moving, still]] * 6))
    assert track.boxes is not None
    np.testing.assert_array_equal(track.boxes[0], (moving if inside else still).box)


def test_frames_of_another_type_are_refused() -> None:
    for frames in (grey(2).astype(np.float32), grey(2)[0], grey(0)):
        with pytest.raises(UsageError, match="one or more"):
            track_speaker(frames, Script([]))


# Crops


def turned(landmarks: npt.NDArray[np.float32], degrees: float) -> npt.NDArray[np.float32]:
    """Landmarks turned about their mean, clockwise as seen."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = landmarks.mean(axis=0)
    return ((landmarks - middle) @ matrix.T + middle).astype(np.float32)


def dotted(landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """One dark frame with a red disc on the left eye and a green one on the right."""
    rows, columns = np.mgrid[:300, :500]
    frame = np.zeros((1, 300, 500, 3), dtype=np.uint8)
    for channel, (x, y) in enumerate(landmarks[:2]):
        frame[0, np.hypot(columns + 0.5 - x, rows + 0.5 - y) < 5, channel] = 255
    return frame


def centroid(weights: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean x and y of a picture's light, in pixels from its corner."""
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    light = weights / weights.sum()
    return float((columns * light).sum()), float((rows * light).sum())


@pytest.mark.parametrize("degrees", [0, 25, -40, 90, 180])
@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("size", [32, 112])
def test_eyes_come_to_fixed_places(degrees: float, scale: float, size: int) -> None:
    face = make_face(150, 60, scale)
    landmarks = turned(face.landmarks, degrees)
    seen = np.ones(1, dtype=np.bool_)
    track = FaceTrack(face.box[None], landmarks[None], seen, 1)
    (crop,) = crop_faces(dotted(landmarks), track, size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    tolerance = 0.01 * size
    assert centroid(crop[..., 0]) == pytest.approx((0.375 * size, 0.42 * size), abs=tolerance)
    assert centroid(crop[..., 1]) == pytest.approx((0.625 * size, 0.42 * size), abs=tolerance)


def test_a_turned_head_is_not_blown_up() -> None:
    face = make_face(150, 60)
    aside = face.landmarks.copy()
    aside[:2, 0] = (189, 191)  # a profile: the eyes two pixels apart
    seen = np.ones(2, dtype=np.bool_)
    frames = np.concatenate([dotted(face.landmarks)] * 2)
    frames[:, 135:137, 150:230, 2] = 255  # a line at the mouth's height
    track = FaceTrack(np.stack([face.box] * 2), np.stack([face.landmarks, aside]), seen, 1)
    crops = crop_faces(frames, track, 96)
    heights = [centroid(crop[..., 2])[1] for crop in crops]
    assert heights[1] < 96 * 0.8
    assert heights[0] == pytest.approx(heights[1], abs=8)


def test_beyond_the_frame_its_border_is_repeated() -> None:
    face = make_face(0, 0)
    frames = grey(1)
    frames[:, :, 0] = (10, 200, 90)
    track = FaceTrack(face.box[None], face.landmarks[None], np.ones(1, dtype=np.bool_), 1)
    (crop,) = crop_faces(frames, track, 64)
    np.testing.assert_array_equal(crop[:, 0], np.tile(np.array([10, 200, 90]), (64, 1)))
    assert crop.min() > 0


def test_a_track_of_other_frames_is_refused() -> None:
    face = make_face(0, 0)
    track = FaceTrack(face.box[None], face.landmarks[None], np.ones(1, dtype=np.bool_), 1)
    with pytest.raises(UsageError, match="1 frame for 2 frames"):
        crop_faces(grey(2), track, 32)
    with pytest.raises(UsageError, match="the size is 0"):
        crop_faces(grey(1), track, 0)


# Real clips


def eyes_in(crop: npt.NDArray[np.uint8], detector: FaceDetector) -> npt.NDArray[np.float32]:
    """Eyes found anew in a crop, as shares of its side."""
    face = detector.detect(crop)[0]
    return face.landmarks[:2] / np.float32(crop.shape[0])


@pytest.mark.slow
def test_the_speaker_is_found_in_every_frame_of_first_impressions(
    detector: FaceDetector, first_impressions: Path
) -> None:
    clips = sorted((first_impressions / "clips").glob("*.mp4"))
    assert len(clips) == 7
    for path in clips:
        frames = frames_of(path)
        track = track_speaker(frames, detector)
        assert track.seen.mean() == 1.0, path.name
        assert track.boxes is not None
        width, height = frames.shape[2], frames.shape[1]
        middle = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2 / (width, height)
        assert (np.abs(middle - 0.5) < 0.35).all(), path.name
        crop = crop_faces(frames, track, 128)[0]
        np.testing.assert_allclose(
            eyes_in(crop, detector), [[0.375, 0.42], [0.625, 0.42]], atol=0.05
        )


@pytest.mark.parametrize(
    "name",
    [
        "talking/edtalk_pose_source2.mp4",
        "talking/grid_bbaf2n.mpg",
        # portrait, a small face
        pytest.param("talking/latentsync_demo1.mp4", marks=pytest.mark.slow),
        "talking/videoretalking_face1.mp4",
        "hard/tiny_64px.mp4",
        "hard/streamio_sideways_movie.mov",  # stored on its side, with a rotation that says so
    ],
)
def test_crops_of_real_clips_are_upright(
    detector: FaceDetector, shared_data: Path, name: str
) -> None:
    frames = frames_of(shared_data / "clips" / name, 4)
    track = track_speaker(frames, detector)
    assert (track.seen.mean(), track.people, track.warnings) == (1.0, 1, ())
    for crop in crop_faces(frames, track, 128):
        eyes = eyes_in(crop, detector)
        assert abs(eyes[0, 1] - eyes[1, 1]) < 0.05
        assert np.abs(eyes.mean(axis=0) - (0.5, 0.42)).max() < 0.05


def test_a_face_on_its_side_is_turned_upright(detector: FaceDetector, shared_data: Path) -> None:
    frames = frames_of(shared_data / "clips" / "hard" / "rotated90_metadata.mp4", 4)
    track = track_speaker(frames, detector)
    assert track.seen.mean() == 1.0
    for crop in crop_faces(frames, track, 128):
        across = np.diff(eyes_in(crop, detector), axis=0)[0]
        assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 30  # of the 90 that it was


@pytest.mark.parametrize(
    "name",
    ["pyfeat_no_face.mp4", "moviepy_video_with_failing_audio.mp4", "torchcodec_odd_size_vp9.mp4"],
)
def test_a_clip_without_a_face_has_none(
    detector: FaceDetector, shared_data: Path, name: str
) -> None:
    track = track_speaker(frames_of(shared_data / "clips" / "hard" / name), detector)
    assert track.boxes is None
    (warning,) = track.warnings
    assert "8 frames" in warning


def test_a_face_that_leaves_is_seen_in_part(detector: FaceDetector, shared_data: Path) -> None:
    frames = frames_of(shared_data / "clips" / "hard" / "pyfeat_face_noface.mov")
    track = track_speaker(frames, detector)
    assert track.seen.tolist() == [True] * 3 + [False] * 5
    assert track.seen.mean() == 0.375
    assert track.boxes is not None
    np.testing.assert_array_equal(track.boxes[2], track.boxes[7])
    assert "3 of 8 frames" in track.warnings[0]


def test_of_two_people_one_is_kept_throughout(detector: FaceDetector, shared_data: Path) -> None:
    frames = frames_of(shared_data / "clips" / "hard" / "two_faces_hstack.mp4")
    track = track_speaker(frames, detector)
    assert (track.seen.mean(), track.people) == (1.0, 2)
    assert track.boxes is not None
    assert (track.boxes[:, 2] < frames.shape[2] / 2).all()  # the larger face is on the left
    assert track.warnings[0].startswith("2 faces")


def test_maps_are_decoded_to_a_box_and_landmarks_in_pixels():
    """Each pair of channels is y, x: a face of unequal offsets and sides tells them apart."""
    heat = np.zeros((1, 8, 8), np.float32)
    size, offset = np.zeros((2, 8, 8), np.float32), np.zeros((2, 8, 8), np.float32)
    points = np.zeros((10, 8, 8), np.float32)
    heat[0, 3, 5] = 0.9  # row 3, column 5
    offset[:, 3, 5] = 0.25, -0.5  # y, x in cells
    size[:, 3, 5] = np.log([6.0, 4.0])  # height, width in cells
    points[:2, 3, 5] = 0.5, 0.25  # y, x as shares of the box
    boxes, scores, landmarks = faces._decode(heat, size, offset, points)
    np.testing.assert_allclose(boxes, [[12.0, 3.0, 28.0, 27.0]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.9], atol=1e-6)
    np.testing.assert_allclose(landmarks[0, 0], [16.0, 15.0], atol=1e-4)
