"""Footage for synthetic clips, read or drawn, and the MP4 writer."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import av
import cv2
import numpy as np
import numpy.typing as npt

from mmperson.errors import MediaError, UsageError
from mmperson.media import AudioWindow, read_clip
from mmperson.media.folders import VIDEO_SUFFIXES

FPS: Final = 12
SECONDS: Final = 2.0
SOUND_RATE_HZ: Final = 16_000
LOUDNESS_RATE_HZ: Final = 100

REPEATABLE_X264: Final = {"threads": "1", "x264-params": "cpu-independent=1"}
"""x264 options for identical bytes on every processor.

The output depends on the number of threads. The default rate-distortion optimisation rounds by
processor, and at most widths reads uninitialised memory.
"""

_STILLS: Final = 8  # Per video.
_SIZE: Final = (120, 120)  # Height and width of a still.
_LEAST_CONTRAST: Final = 10.0  # Grey levels; a still with less is blank, as before a fade-in.
_HEARD_S: Final = 30.0
_SOUND_BITS_PER_S: Final = 96_000

Stills = tuple[npt.NDArray[np.uint8], ...]


@dataclass(frozen=True, eq=False)
class Footage:
    """Stills and loudness of one video.

    Attributes:
        name: Path relative to the footage folder.
        stills: uint8 (height, width, 3) each, RGB, all of one size; none is blank.
        loudness: float64 (step,), ``LOUDNESS_RATE_HZ`` steps per second, on [0, 1].
    """

    name: str
    stills: Stills
    loudness: npt.NDArray[np.float64]


def read_footage(folder: Path, most: int, random: np.random.Generator) -> list[Footage]:
    """Read stills and loudness of the videos in a folder, recursively and in random order.

    Unreadable and blank videos are skipped. Links to folders are not followed.

    Args:
        folder: Folder of videos.
        most: Largest number of videos.
        random: Generator of the order.

    Raises:
        UsageError: The folder does not exist.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {str(folder)!r}.", hint="Give a folder of videos.")
    videos = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    # A file and a link to it count once; otherwise it could be in two splits.
    paths = sorted(
        {path.resolve(): path for path in sorted(videos, reverse=True) if path.is_file()}.values()
    )
    footage: list[Footage] = []
    for place in random.permutation(len(paths)):
        if len(footage) == most:
            break
        window = AudioWindow(SOUND_RATE_HZ, duration_s=_HEARD_S)
        try:
            clip = read_clip(paths[place], frames=_STILLS, audio=window)
        except MediaError:
            continue
        stills = tuple(_still(frame) for frame in (() if clip.frames is None else clip.frames))
        stills = tuple(still for still in stills if still.std() >= _LEAST_CONTRAST)
        if stills:
            name = paths[place].relative_to(folder).as_posix()
            footage.append(Footage(name, stills, _loudness(clip.waveform)))
    return footage


def draw_footage(count: int, random: np.random.Generator) -> list[Footage]:
    """Draw people who move their heads in front of a wall, with syllable-like loudness.

    Args:
        count: Number of people.
        random: Generator of their appearance.
    """
    return [
        Footage(f"drawn{number:03d}", _faces(random), _syllables(random)) for number in range(count)
    ]


def write_clip(path: Path, frames: npt.NDArray[np.uint8], sound: npt.NDArray[np.float32]) -> None:
    """Write an MP4 file whose bytes depend only on the content.

    Args:
        path: The file.
        frames: uint8 (frame, height, width, 3), RGB, ``FPS`` per second; even height and width.
        sound: float32 (sample,), mono, [-1, 1], at ``SOUND_RATE_HZ``.
    """
    codec, options = _video_encoder()
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=FPS, options=options)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        if codec == "mpeg4":
            video.bit_rate = 2_000_000
        audio = output.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
        audio.bit_rate = _SOUND_BITS_PER_S
        for picture in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(sound[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE_HZ, 0
        frame.time_base = Fraction(1, SOUND_RATE_HZ)
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))


def _video_encoder() -> tuple[Literal["libx264", "mpeg4"], dict[str, str]]:
    """Return the encoder and its options; FFmpeg builds without GPL parts lack x264."""
    if "libx264" in av.codecs_available:
        return "libx264", {"crf": "10", "preset": "veryfast", **REPEATABLE_X264}
    return "mpeg4", {"threads": "1"}


def _still(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Crop the centre of a frame to a still's aspect ratio, and resize it."""
    height, width = frame.shape[:2]
    rows = min(height, max(1, width * _SIZE[0] // _SIZE[1]))
    columns = min(width, max(1, height * _SIZE[1] // _SIZE[0]))
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = np.ascontiguousarray(frame[top : top + rows, left : left + columns])
    return np.asarray(cv2.resize(middle, _SIZE[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _loudness(waveform: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
    """Return the RMS per ``LOUDNESS_RATE_HZ`` step, scaled to a maximum of 1; 1 without sound."""
    hop = SOUND_RATE_HZ // LOUDNESS_RATE_HZ
    if waveform is None or len(waveform) < hop:
        return np.ones(round(SECONDS * LOUDNESS_RATE_HZ))
    whole = waveform[: len(waveform) // hop * hop].reshape(-1, hop).astype(np.float64)
    curve: npt.NDArray[np.float64] = np.sqrt(np.mean(whole**2, axis=1))
    return np.asarray(curve / max(float(curve.max()), 1e-6), dtype=np.float64)


def _syllables(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return loudness that peaks three to six times per second, each time at another level."""
    time_s = np.arange(round(4 * SECONDS * LOUDNESS_RATE_HZ)) / LOUDNESS_RATE_HZ
    beats = random.uniform(3.0, 6.0) * time_s
    levels = random.uniform(0.2, 1.0, int(beats[-1]) + 1)
    curve: npt.NDArray[np.float64] = levels[beats.astype(int)] * np.sin(np.pi * beats) ** 2
    return curve


def _faces(random: np.random.Generator) -> Stills:
    """Draw one person several times, with random head positions and mouth openings."""
    height, width = _SIZE
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    wall, skin, hair = (random.uniform(40, 220, 3) for _ in range(3))
    size = random.uniform(24, 36)
    spots = random.normal(0, 10, (height // 8, width // 8))
    room = wall * (0.7 + 0.3 * x / width)[..., np.newaxis]
    room = room + np.kron(spots, np.ones((8, 8)))[..., np.newaxis]
    stills = []
    for _ in range(_STILLS):
        picture = room.copy()
        centre_y, centre_x = height / 2 + random.normal(0, 6), width / 2 + random.normal(0, 6)
        mouth = random.uniform(0.03, 0.14)
        # Offset below and right of the centre, half height and width, colour.
        for below, right, tall, wide, colour in (
            (-0.35, 0.0, 1.1, 0.95, hair),
            (0.0, 0.0, 1.15, 0.8, skin),
            (-0.2, -0.33, 0.1, 0.14, 25.0),
            (-0.2, 0.33, 0.1, 0.14, 25.0),
            (0.5, 0.0, mouth, 0.3, (150.0, 60.0, 60.0)),
        ):
            rows = (y - centre_y - below * size) / tall
            columns = (x - centre_x - right * size) / wide
            picture[rows**2 + columns**2 < size**2] = colour
        stills.append(np.clip(picture, 0, 255).astype(np.uint8))
    return tuple(stills)
