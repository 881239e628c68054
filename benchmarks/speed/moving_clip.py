"""A clip of any size and length: the demo clip's face and voice, panned over, with film grain.

It costs a decoder what a real recording does: H.264 with a keyframe every ten seconds, moving
pictures, AAC audio, and the demo's transcript beside it. The same settings give the same bytes.
"""

from __future__ import annotations

import shutil
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.harness import DEMO
from mmperson.datasets.synthetic_media import REPEATABLE_X264
from mmperson.media import AudioWindow, read_clip

FPS = 25
GROUP = 250
"""Pictures from one keyframe to the next, at most."""
SOUND_RATE_HZ = 44_100
_GRAIN = 4.0
"""Standard deviation of the grain in grey levels."""
_GRAINS = 8


def write_moving_clip(path: Path, seconds: float, width: int, height: int, seed: int = 0) -> Path:
    """Write a clip, and its words beside it.

    Args:
        path: Where to, an .mp4.
        seconds: Its length.
        width: Pixels; even.
        height: Pixels; even.
        seed: Where the grain comes from.

    Returns:
        The path.
    """
    stills, voice = _demo()
    there_and_back = [*stills, *stills[-2:0:-1]]
    random = np.random.default_rng(seed)
    grains = random.normal(0, _GRAIN, (_GRAINS, height, width, 1)).round().astype(np.int16)
    frames = round(seconds * FPS)
    options = {"preset": "veryfast", "crf": "23", "g": str(GROUP), **REPEATABLE_X264}
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = output.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
        for index in range(frames):
            still = there_and_back[index % len(there_and_back)]
            picture = cv2.resize(_pan(still, index / FPS, width / height), (width, height))
            grain = np.roll(grains[index % _GRAINS], 37 * index, axis=1)
            grained = np.clip(picture + grain, 0, 255).astype(np.uint8)
            image = av.VideoFrame.from_ndarray(grained, format="rgb24")
            image.pts, image.time_base = index, Fraction(1, FPS)
            output.mux(video.encode(image))
            begin, end = (edge * SOUND_RATE_HZ // FPS for edge in (index, index + 1))
            samples = voice.take(np.arange(begin, end), mode="wrap")[None]
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = SOUND_RATE_HZ, begin
            sound.time_base = Fraction(1, SOUND_RATE_HZ)
            output.mux(audio.encode(sound))
        output.mux(video.encode(None))
        output.mux(audio.encode(None))
    shutil.copyfile(DEMO.with_suffix(".txt"), path.with_suffix(".txt"))
    return path


@cache
def _demo() -> tuple[list[np.ndarray], np.ndarray]:
    """Return the demo clip's pictures and its sound."""
    with av.open(str(DEMO)) as demo:
        stills = [frame.to_ndarray(format="rgb24") for frame in demo.decode(video=0)]
    return stills, read_clip(DEMO, audio=AudioWindow(SOUND_RATE_HZ)).waveform


def _pan(still: np.ndarray, time_s: float, aspect: float) -> np.ndarray:
    """Cut a window out of a picture that moves around in it once in six seconds."""
    rows, columns = still.shape[:2]
    wide = 0.9 * min(columns, rows * aspect)
    free_x, free_y = columns - wide, rows - wide / aspect
    left = round(free_x / 2 * (1 + np.cos(2 * np.pi * time_s / 6)))
    top = round(free_y / 2 * (1 + np.sin(2 * np.pi * time_s / 6)))
    return still[top : top + round(wide / aspect), left : left + round(wide)]
