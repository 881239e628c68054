"""Detect faces and five landmarks each with CenterFace, in ONNX Runtime.

The network returns a heatmap of face centres at a quarter of the picture's resolution, and for each
centre the size of the face and its landmarks.

Source: Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019,
https://arxiv.org/abs/1911.03599.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import BundleCorrupt, BundleNotFound, UsageError
from mmperson.shipped import weight_folders

Floats = npt.NDArray[np.float32]

MODEL_FILE: Final = "centerface.onnx"
MODEL_SHA256: Final = "b4db3a810e4ee62013f4ce386e7cd43b62086ba41c000f45d87ff44bb64a674c"
MODEL_BYTES: Final = 2627942

STRIDE: Final = 4  # pixels per cell of the maps
MULTIPLE: Final = 32  # the backbone halves the picture five times
MIN_SCORE: Final = 0.5
MAX_OVERLAP: Final = 0.3  # intersection over union above which two detections are one face

_ADVICE = "Install mmperson again, or run scripts/fetch_face_detector.py."


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    Attributes:
        box: float32 (4,), left, top, right and bottom in pixels, inside the frame.
        score: Confidence, [0, 1].
        landmarks: float32 (5, 2), x and y in pixels of both eyes, the nose tip and both mouth
            corners, the left one of an upright picture first. They may lie outside the frame.
    """

    box: Floats
    score: float
    landmarks: Floats


class FaceDetector:
    """CenterFace on the CPU, for upright faces.

    Args:
        model: The shipped ``centerface.onnx``; None finds it.
        threads: CPU threads.
        long_side: Pixels to which the longer side of a frame is scaled.

    Raises:
        UsageError: ``threads`` is below 1, or ``long_side`` below 32.
        BundleNotFound: The model file is missing.
        BundleCorrupt: The file differs from the shipped one, or cannot be loaded.
    """

    def __init__(
        self, model: Path | None = None, *, threads: int = 1, long_side: int = 320
    ) -> None:
        if threads < 1 or long_side < MULTIPLE:
            raise UsageError(
                f"threads is {threads} and long_side is {long_side}; "
                f"they must be at least 1 and {MULTIPLE}."
            )
        graph = _read_model(find_model() if model is None else model)
        import onnxruntime as ort  # Here: only face views need it.

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it would log, it also raises
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise BundleCorrupt(f"{MODEL_FILE} cannot be loaded: {error}", hint=_ADVICE) from error
        self._long_side = long_side

    def detect(self, frame: npt.NDArray[np.uint8]) -> list[Face]:
        """Detect the faces in a frame.

        Args:
            frame: uint8 (height, width, 3), upright RGB.

        Returns:
            The faces, in descending order of score.

        Raises:
            UsageError: The frame has another shape or dtype, or no pixels.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise UsageError(
                f"The frame is {frame.dtype} {frame.shape}; it must be uint8 (height, width, 3)."
            )
        picture, scale = _fit(frame, self._long_side)
        maps = self._session.run(["heatmap", "size", "offset", "landmarks"], {"image": picture})
        boxes, scores, landmarks = _decode(*(values[0] for values in maps))
        height, width = frame.shape[:2]
        corners = (boxes.reshape(-1, 2, 2) / scale).clip(0, np.array([width, height]))
        boxes = corners.reshape(-1, 4).astype(np.float32)
        inside = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)  # not in the padding
        return _merge(boxes[inside], scores[inside], (landmarks / scale)[inside])


@cache
def face_detector() -> FaceDetector:
    """Return the shipped detector with one thread, loaded once."""
    return FaceDetector()


def _fit(frame: npt.NDArray[np.uint8], long_side: int) -> tuple[Floats, Floats]:
    """Return float32 (1, 3, height, width), zero-padded, and float32 (2,) scale of x and y."""
    import cv2  # Here: only video needs it.

    height, width = frame.shape[:2]
    ratio = long_side / max(height, width)
    inner = max(1, round(width * ratio)), max(1, round(height * ratio))
    # Averaging avoids aliasing.
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(frame, inner, interpolation=method)
    padded = [-(-side // MULTIPLE) * MULTIPLE for side in inner]
    picture = np.zeros((1, 3, padded[1], padded[0]), dtype=np.float32)
    picture[0, :, : inner[1], : inner[0]] = scaled.transpose(2, 0, 1)
    return picture, np.array([inner[0] / width, inner[1] / height], dtype=np.float32)


def _decode(
    heat: Floats, size: Floats, offset: Floats, points: Floats
) -> tuple[Floats, Floats, Floats]:
    """Decode the maps into boxes, scores and landmarks, in pixels of the picture."""
    # Offsets of the centres and logarithms of the sizes are in cells, landmarks are relative to the
    # box, and each pair of channels is y, x.
    rows, columns = np.nonzero(heat[0] > MIN_SCORE)
    cells = np.stack([columns, rows], axis=1)
    centres = (cells + offset[::-1, rows, columns].T + 0.5) * STRIDE
    sizes = np.exp(size[::-1, rows, columns].T) * STRIDE
    corners = centres - sizes / 2
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    shares = points[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    return boxes, heat[0, rows, columns], shares * sizes[:, None] + corners[:, None]


def _merge(boxes: Floats, scores: Floats, landmarks: Floats) -> list[Face]:
    """Merge overlapping detections by their weighted mean, in descending order of score."""
    # The mean jitters less from frame to frame than non-maximum suppression. Source: Bazarevsky et
    # al., BlazeFace, 2019, https://arxiv.org/abs/1907.05047, post-processing.
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    order = np.argsort(-scores, kind="stable")
    faces = []
    while order.size:
        best = order[0]
        width = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order])
        height = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order])
        shared = width.clip(0) * height.clip(0)
        same = shared > MAX_OVERLAP * (areas[best] + areas[order] - shared)
        same[0] = True
        group, order = order[same], order[~same]
        box = np.average(boxes[group], axis=0, weights=scores[group])
        marks = np.average(landmarks[group], axis=0, weights=scores[group])
        faces.append(Face(box.astype(np.float32), float(scores[best]), marks.astype(np.float32)))
    return faces


def find_model() -> Path:
    """Return the path of the model file, in the wheel or in the source tree."""
    places = [folder / "face-detector" / MODEL_FILE for folder in weight_folders()]
    return next((path for path in places if os.path.isfile(path)), places[0])


def _read_model(path: Path) -> bytes:
    if not os.path.isfile(path):
        raise BundleNotFound(f"There is no face detector at {str(path)!r}.", hint=_ADVICE)
    try:
        content = path.read_bytes() if path.stat().st_size == MODEL_BYTES else b""
    except OSError as error:
        raise BundleCorrupt(
            f"The face detector {str(path)!r} cannot be read: {error.strerror or error}.",
            hint="Check the permissions of the file.",
        ) from error
    if hashlib.sha256(content).hexdigest() != MODEL_SHA256:
        raise BundleCorrupt(
            f"{str(path)!r} is not the shipped {MODEL_FILE} of {MODEL_BYTES} bytes.",
            hint=_ADVICE,
        )
    return content
