"""Make demo.mp4 and demo.txt: a public-domain face, slowly moving, over synthesised speech.

The face is NASA's portrait of the astronaut Eileen Collins, which scikit-image ships; the voice is
espeak-ng's. Nobody speaks here, so the scores of this clip say nothing about anyone.

    apt-get install espeak-ng && pip install scikit-image
    python docs/demo/make_demo.py
"""

import subprocess
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from skimage.data import astronaut
from skimage.transform import SimilarityTransform, warp

TEXT = (
    "I like to plan my week on Sunday evening. Most days I work with a small team, "
    "and in my free time I read, cook and go for long walks."
)
WIDTH, HEIGHT, FPS = 640, 480, 25
FACE_X, FACE_Y, CROP_WIDTH = 226.0, 118.0, 300.0  # in the 512-pixel portrait
HERE = Path(__file__).parent


def speak(text: str) -> tuple[npt.NDArray[np.int16], int]:
    """Return int16 (sample,) of a text read aloud, a short pause after it, and the rate in Hz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-v", "en-gb", "-s", "172", "-w", path, text], check=True)
        with wave.open(str(path)) as file:
            rate_hz = file.getframerate()
            speech = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return np.concatenate([speech, np.zeros(rate_hz // 3, dtype=np.int16)]), rate_hz


def picture(portrait: npt.NDArray[np.uint8], progress: float) -> npt.NDArray[np.uint8]:
    """Return the RGB frame at a progress from 0 to 1: a slow zoom in with a gentle sway."""
    scale = CROP_WIDTH * (1.0 - 0.08 * progress) / WIDTH
    centre_x = FACE_X + 6.0 * np.sin(2 * np.pi * 1.5 * progress)
    centre_y = FACE_Y + 3.0 * np.sin(2 * np.pi * 2.5 * progress)
    corner = (centre_x - WIDTH / 2 * scale, centre_y - HEIGHT / 2 * scale)
    view = SimilarityTransform(scale=scale, translation=corner)
    frame = warp(portrait, view, output_shape=(HEIGHT, WIDTH), order=1, preserve_range=True)
    return frame.astype(np.uint8)


def main() -> None:
    """Write both files beside this script."""
    speech, rate_hz = speak(TEXT)
    frames = round(len(speech) / rate_hz * FPS)
    portrait = astronaut()
    target = HERE / "demo.mp4"
    with av.open(str(target), "w", options={"movflags": "+faststart"}) as output:
        video = output.add_stream("libx264", rate=FPS, options={"crf": "26", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = output.add_stream("aac", rate=rate_hz, layout="mono", bit_rate=48_000)
        for index in range(frames):
            image = av.VideoFrame.from_ndarray(picture(portrait, index / frames), format="rgb24")
            image.pts, image.time_base = index, Fraction(1, FPS)
            output.mux(video.encode(image))
            begin, end = (round(edge * rate_hz / FPS) for edge in (index, index + 1))
            samples = speech[begin:end].astype(np.float32)[None] / 32768
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = rate_hz, begin, Fraction(1, rate_hz)
            output.mux(audio.encode(sound))
        output.mux(video.encode(None) + audio.encode(None))
    target.with_suffix(".txt").write_text(TEXT + "\n", encoding="utf-8")
    print(f"{target}: {frames / FPS:.1f} s, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
