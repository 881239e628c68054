"""Pictures and sounds that planted clips are made of, and the writing of the clips."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from mmperson.errors import MediaError, UsageError
from mmperson.media import AudioWindow, read_clip

FPS: Final = 12
SECONDS: Final = 2.0
PER_CHANGE: Final = 6  # Frames between two ends of the shake, half a second.
SOUND_RATE_HZ: Final = 16_000

_STILLS: Final = 8
_SIZE: Final = (240, 320)  # Height and width of a still.
_VIDEOS: Final = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".m4v"}


@dataclass(frozen=True)
class Footage:
    """What is taken from one video.

    Attributes:
        name: Its name.
        stills: float64 (height, width, 3) each, RGB on [0, 255].
        loudness: float64 (hundredth of a second,), on [0, 1].
    """

    name: str
    stills: tuple[npt.NDArray[np.float64], ...]
    loudness: npt.NDArray[np.float64]


def read_footage(folder: Path) -> list[Footage]:
    """Read stills and the loudness curve of every video in a folder and its folders.

    Videos that cannot be read or have no picture are left out.

    Raises:
        UsageError: There is no such folder.
    """
    import cv2

    if not folder.is_dir():
        raise UsageError(f"There is no folder {str(folder)!r}.", hint="Give --footage FOLDER.")
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in _VIDEOS):
        try:
            window = AudioWindow(SOUND_RATE_HZ, duration_s=30.0)
            clip = read_clip(path, frames=_STILLS, audio=window)
        except MediaError:
            continue
        if clip.frames is None:
            continue
        stills = tuple(
            cv2.resize(_middle(frame), _SIZE[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
            for frame in clip.frames
        )
        loudness = _loudness(clip.waveform)
        found.append(Footage(path.relative_to(folder).as_posix(), stills, loudness))
    return found


def draw_faces(count: int, random: np.random.Generator) -> list[Footage]:
    """Draw simple faces before plain walls, with loudness curves like syllables."""
    return [
        Footage(
            f"drawn{number:02d}",
            tuple(_face(random) for _ in range(_STILLS)),
            np.clip(0.5 + 0.5 * np.sin(np.arange(300) / random.uniform(3, 7)), 0, 1),
        )
        for number in range(count)
    ]


def write_clip(path: Path, frames: npt.NDArray[np.uint8], sound: npt.NDArray[np.float32]) -> None:
    """Write frames, uint8 (frame, height, width, 3), and mono sound, float32 (sample,), as MP4."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FPS, options={"crf": "10", "preset": "veryfast"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        audio = output.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
        audio.bit_rate = 96_000
        for picture in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(sound[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE_HZ, 0
        frame.time_base = Fraction(1, SOUND_RATE_HZ)
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))


def _middle(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut the middle of a frame in the shape of a still."""
    height, width = frame.shape[:2]
    rows = min(height, width * _SIZE[0] // _SIZE[1])
    columns = min(width, height * _SIZE[1] // _SIZE[0])
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(frame[top : top + rows, left : left + columns])


def _loudness(waveform: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
    """Root mean square of every hundredth of a second, its loudest at 1; even without sound."""
    hop = SOUND_RATE_HZ // 100
    if waveform is None or len(waveform) < hop:
        return np.ones(200)
    whole = waveform[: len(waveform) // hop * hop].reshape(-1, hop).astype(np.float64)
    curve = np.sqrt(np.mean(whole**2, axis=1))
    loudest: float = max(float(curve.max()), 1e-6)
    return np.asarray(curve / loudest, dtype=np.float64)


def _face(random: np.random.Generator) -> npt.NDArray[np.float64]:
    height, width = _SIZE
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    wall, skin, hair = (random.uniform(40, 220, 3) for _ in range(3))
    picture = wall * (0.7 + 0.3 * (x / width)[..., np.newaxis])
    centre = np.array([height / 2, width / 2]) + random.normal(0, 12, 2)
    size = random.uniform(45, 75)

    def inside(dy: float, dx: float, tall: float, wide: float) -> npt.NDArray[np.bool_]:
        rows, columns = (y - centre[0] - dy * size) / tall, (x - centre[1] - dx * size) / wide
        return np.asarray(rows**2 + columns**2 < size**2)

    picture[inside(-0.35, 0.0, 1.1, 0.95)] = hair
    picture[inside(0.0, 0.0, 1.15, 0.8)] = skin
    for side in (-0.33, 0.33):
        picture[inside(-0.2, side, 0.1, 0.14)] = 25.0
    picture[inside(0.5, 0.0, 0.07, 0.3)] = (150.0, 60.0, 60.0)
    texture = random.normal(0, 1, (height // 8, width // 8))
    picture += 12 * np.kron(texture, np.ones((8, 8)))[..., np.newaxis]
    return np.asarray(picture.clip(0, 255), dtype=np.float64)
