"""A synthetic corpus whose traits are known functions of signals, to test learning from clips.

The brightness and motion of stills (of real footage or drawn people), the level and pitch of a
harmonic tone, and the share of abstract words in the transcript are set to known values. Each trait
is a linear function of one signal:

===================  ========  ===================  =============================================
trait                modality  signal               from 0 to 1
===================  ========  ===================  =============================================
openness             text      words                0 to 1, share of abstract words
conscientiousness    audio     level_db             -42 to -14 dB, mean power; 0 dB at full scale
extraversion         video     motion               0 to 12 grey levels, mean change in half a
                                                    second of blocks of 4 by 4 pixels
agreeableness        video     brightness           40 to 200 grey levels, mean of all pixels
emotional_stability  audio     pitch_octaves        0 to 2 octaves above 80 Hz
===================  ========  ===================  =============================================

The signals are independent of each other and of the footage. Zoom, contrast and the rate of the
loudness envelope also vary, as nuisances. A label is the signal measured in the finished clip. No
footage is in two splits.

The picture changes every half second, so read 4, 8 or more frames: 2 look the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mmperson.datasets.manifest import Manifest, write_manifest
from mmperson.datasets.synthetic_media import (
    FPS,
    LOUDNESS_RATE_HZ,
    SECONDS,
    SOUND_RATE_HZ,
    Footage,
    draw_footage,
    read_footage,
    write_clip,
)
from mmperson.errors import UsageError
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS

SIGNALS: Final = {
    "words": (0.0, 1.0),
    "level_db": (-42.0, -14.0),
    "motion": (0.0, 12.0),
    "brightness": (40.0, 200.0),
    "pitch_octaves": (0.0, 2.0),
}
"""Range of each trait's signal, in the order of ``TRAITS``."""

LOWEST_PITCH_HZ: Final = 80.0
LEAST_CLIPS: Final = 10

_INNER: Final = (0.05, 0.95)  # Targets avoid the ends, which rounding could exceed.
_ZOOM: Final = (1.0, 1.4)
_CONTRAST: Final = (30.0, 45.0)  # Standard deviation in grey levels.
_RATE: Final = (0.7, 1.4)
_SIZE: Final = (120, 120)  # Height and width of a clip, square so that a centre crop keeps all.
_BLOCK: Final = 4
_MARGIN: Final = 0.8  # Visible share of a still; the rest leaves room for motion.
_FRAMES_AT_END: Final = FPS // 2
_QUIETEST: Final = 0.3  # Keeps the pitch audible in pauses.
_HIGHEST_HARMONIC_HZ: Final = 3000.0
_WORDS: Final = 24
_IDEAS: Final = ("idea", "theory", "poem", "dream", "music", "wonder", "novel", "art", "concept",
                 "vision", "story", "meaning")  # fmt: skip
_THINGS: Final = ("table", "bus", "paper", "shoe", "street", "bread", "door", "bottle", "office",
                  "box", "car", "floor")  # fmt: skip
_HELD_OUT_SHARE: Final = 0.15  # Of the footage, for validation and test each.
_DRAWN: Final = 20
_MOST_FOOTAGE: Final = 200

Pictures = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _SyntheticClip:
    """Content of one clip; the signals in the order of ``SIGNALS``."""

    name: str
    footage: str
    split: str
    words: str
    signals: tuple[float, ...]
    nuisances: dict[str, float]


def make_synthetic(
    out: Path,
    *,
    clips: int = 300,
    footage: Path | None = None,
    seed: int = 0,
    on_clip: Callable[[int, int], None] = lambda *_: None,
) -> Manifest:
    """Make a synthetic corpus in a folder.

    Args:
        out: Folder for ``clips/*.mp4`` and ``manifest.parquet``; created if absent.
        clips: Number of clips, at least ``LEAST_CLIPS``.
        footage: Folder of videos, searched recursively; None draws people instead.
        seed: Random seed, 0 or more.
        on_clip: Called after every clip with (clips done, total clips).

    Returns:
        The manifest; ``source_id`` is the footage, the signals and nuisances are extra columns.

    Raises:
        UsageError: Fewer than ``LEAST_CLIPS`` clips, or fewer than three usable videos.
        MissingExtra: pyarrow is not installed.
    """
    if clips < LEAST_CLIPS:
        raise UsageError(
            f"A synthetic corpus needs at least {LEAST_CLIPS} clips; {clips} were requested."
        )
    random = np.random.default_rng(seed)
    if footage is None:
        sources = draw_footage(min(_DRAWN, clips), random)
    else:
        sources = read_footage(footage, min(_MOST_FOOTAGE, clips), random)
    splits = _assign_splits(sources, footage)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(clips):
        place = number % len(sources)
        path = out / "clips" / f"planted{number:05d}.mp4"
        made.append(_make_clip(path, sources[place], splits[place], random))
        on_clip(number + 1, clips)
    manifest = _manifest(made, out, seed)
    write_manifest(manifest, out / "manifest.parquet")
    return manifest


def _assign_splits(sources: list[Footage], folder: Path | None) -> list[str]:
    """Return the split of each source; sources are in random order and every split gets one."""
    if len(sources) < 3:
        raise UsageError(f"{str(folder)!r} has {len(sources)} videos with a picture; 3 are needed.")
    held_out = max(1, round(_HELD_OUT_SHARE * len(sources)))
    train = len(sources) - 2 * held_out
    return ["validation"] * held_out + ["test"] * held_out + ["train"] * train


def _make_clip(
    path: Path, source: Footage, split: str, random: np.random.Generator
) -> _SyntheticClip:
    """Write one clip and return its content."""
    targets = {
        name: low + (high - low) * random.uniform(*_INNER) for name, (low, high) in SIGNALS.items()
    }
    nuisances = {
        "zoom": random.uniform(*_ZOOM),
        "contrast": random.uniform(*_CONTRAST),
        "rate": random.uniform(*_RATE),
    }
    still = source.stills[random.integers(len(source.stills))]
    ends = _picture(
        still, targets["brightness"], targets["motion"], nuisances["zoom"], nuisances["contrast"]
    )
    order = np.arange(round(SECONDS * FPS)) // _FRAMES_AT_END % 2
    envelope = _envelope(source.loudness, nuisances["rate"], random)
    pitch_hz = LOWEST_PITCH_HZ * 2.0 ** targets["pitch_octaves"]
    sound = _tone(envelope, pitch_hz, targets["level_db"], random)
    ideas = round(targets["words"] * _WORDS)
    words = [*random.choice(_IDEAS, ideas), *random.choice(_THINGS, _WORDS - ideas)]
    random.shuffle(words)
    write_clip(path, ends[order], sound)
    signals = (
        ideas / _WORDS,
        10 * float(np.log10(np.mean(sound.astype(np.float64) ** 2))),
        _motion(ends.astype(np.float64)),
        float(ends.mean()),
        targets["pitch_octaves"],
    )
    return _SyntheticClip(path.stem, source.name, split, " ".join(words), signals, nuisances)


def _picture(
    still: npt.NDArray[np.uint8], brightness: float, motion: float, zoom: float, contrast: float
) -> npt.NDArray[np.uint8]:
    """Return both positions of a moving still, uint8 (2, height, width, 3)."""
    pixels = still.astype(np.float64)
    pixels = contrast * (pixels - pixels.mean()) / pixels.std()

    def light(pictures: Pictures) -> Pictures:
        """Shift the pixels to the target mean brightness."""
        level = _bisect(lambda at: float(np.clip(pictures + at, 0, 255).mean()), brightness, 0, 255)
        return np.clip(pictures + level, 0, 255)

    lit = light(pixels)
    shift = _bisect(lambda at: _motion(_ends(lit, zoom, at)), motion, 0.0, 1.0)
    # The crops show only a part of the still, so their brightness is set again.
    return np.round(light(_ends(pixels, zoom, shift))).astype(np.uint8)


def _ends(pixels: Pictures, zoom: float, shift: float) -> Pictures:
    """Crop a still left and right of its centre, by a share of its margin."""
    height, width = pixels.shape[:2]
    rows, columns = height * _MARGIN / zoom, width * _MARGIN / zoom
    top, left = (height - rows) / 2, (width - columns) / 2
    # warpAffine has subpixel accuracy, which small motions need.
    crops = [
        cv2.warpAffine(
            pixels,
            np.array([[columns / _SIZE[1], 0, left * (1 + side)], [0, rows / _SIZE[0], top]]),
            _SIZE[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for side in (-shift, shift)
    ]
    return np.stack(crops)


def _motion(ends: Pictures) -> float:
    """Return the mean absolute difference of block means, in grey levels."""
    difference = ends[1] - ends[0]
    height, width, channels = difference.shape
    blocks = difference.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, channels)
    return float(np.abs(blocks.mean(axis=(1, 3))).mean())


def _envelope(
    loudness: npt.NDArray[np.float64], rate: float, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return a loudness curve at ``rate`` times its speed from a random start, (sample,)."""
    at = np.arange(round(SECONDS * SOUND_RATE_HZ)) * (rate * LOUDNESS_RATE_HZ / SOUND_RATE_HZ)
    at += random.uniform(0, len(loudness))
    curve = np.interp(at, np.arange(len(loudness)), loudness, period=len(loudness))
    return np.asarray(curve, dtype=np.float64)


def _tone(
    envelope: npt.NDArray[np.float64], pitch_hz: float, level_db: float, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return a harmonic tone of a pitch and level, modulated by an envelope, float32 (sample,)."""
    angle = 2 * np.pi * pitch_hz * np.arange(len(envelope)) / SOUND_RATE_HZ
    wave = np.zeros(len(envelope))
    for harmonic in range(1, int(_HIGHEST_HARMONIC_HZ / pitch_hz) + 1):
        wave += np.sin(harmonic * angle + random.uniform(0, 2 * np.pi)) / np.sqrt(harmonic)
    wave *= _QUIETEST + envelope
    wave *= 10 ** (level_db / 20) / np.sqrt(np.mean(wave**2))
    return np.clip(wave, -0.99, 0.99).astype(np.float32)


def _bisect(rising: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Return where a rising function reaches a value, or the nearer end."""
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _manifest(made: list[_SyntheticClip], out: Path, seed: int) -> Manifest:
    signals = np.array([clip.signals for clip in made])
    low, high = np.array(list(SIGNALS.values())).T
    nuisances = {name: np.array([c.nuisances[name] for c in made]) for name in made[0].nuisances}
    return Manifest(
        sample_id=np.array([clip.name for clip in made]),
        source_id=np.array([clip.footage for clip in made]),
        split=np.array([clip.split for clip in made]),
        fold=np.full(len(made), -1),
        clip=tuple(str((out / "clips" / f"{clip.name}.mp4").resolve()) for clip in made),
        transcript=tuple(clip.words for clip in made),
        targets=(signals - low) / (high - low),
        descriptors=np.full((len(made), len(DESCRIPTORS)), np.nan, dtype=np.float32),
        extras={name: signals[:, i] for i, name in enumerate(SIGNALS)} | nuisances,
        provenance={
            "corpus": "planted",
            "seed": str(seed),
            "terms": "those of the footage; the labels say nothing about people",
        },
    )
