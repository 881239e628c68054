"""A corpus whose traits are known functions of known signals: proof that learning from clips works.

Stills of real footage, or of drawn people, are lit and shaken by known amounts; a hum of known
pitch and level follows the loudness of the footage's sound; and the transcript holds a known share
of words of one kind. Every trait is a straight line through one signal:

===================  ========  ===================  =============================================
trait                modality  signal               from 0 to 1
===================  ========  ===================  =============================================
openness             text      words                0 to 1, share of words about ideas
conscientiousness    audio     level_db             -42 to -14 dB, mean power; 0 dB at full scale
extraversion         video     motion               0 to 12 grey levels, mean change in half a
                                                    second of blocks of 4 by 4 pixels
agreeableness        video     brightness           40 to 200 grey levels, mean of all pixels
emotional_stability  audio     pitch_octaves        0 to 2 octaves above 80 Hz
===================  ========  ===================  =============================================

The signals are drawn independently of each other and of the footage. Zoom, contrast and the rate of
the rhythm vary besides, and mean nothing. A label is what was reached, not what was aimed at. No
footage is in two splits.

The picture jumps every half second, so read 4, 8 or more frames: 2 of them look the same.
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

_INNER: Final = (0.05, 0.95)  # Aims keep away from the ends, which rounding could pass.
_ZOOM: Final = (1.0, 1.4)
_CONTRAST: Final = (30.0, 45.0)  # Standard deviation in grey levels.
_RATE: Final = (0.7, 1.4)
_SIZE: Final = (120, 120)  # Height and width of a clip: readers of frames see a square whole.
_BLOCK: Final = 4
_MARGIN: Final = 0.8  # Share of a still that is seen; the rest is room to shake.
_FRAMES_AT_END: Final = FPS // 2
_QUIETEST: Final = 0.3  # So that the pitch is heard in pauses too.
_HIGHEST_HARMONIC_HZ: Final = 3000.0
_WORDS: Final = 24
_IDEAS: Final = ("idea", "theory", "poem", "dream", "music", "wonder", "novel", "art", "concept",
                 "vision", "story", "meaning")  # fmt: skip
_THINGS: Final = ("table", "bus", "paper", "shoe", "street", "bread", "door", "bottle", "office",
                  "box", "car", "floor")  # fmt: skip
_HELD_SHARE: Final = 0.15  # Of the footage, for validation and for test each.
_DRAWN: Final = 20
_MOST_FOOTAGE: Final = 200

OnClip = Callable[[int, int], None]
"""Called after every clip with the clips done and the clips in all."""

Pictures = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _SyntheticClip:
    """What was put into one clip; the signals in the order of ``SIGNALS``."""

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
    on_clip: OnClip = lambda *_: None,
) -> Manifest:
    """Make a planted corpus in a folder.

    Args:
        out: Folder for ``clips/*.mp4`` and ``manifest.parquet``; made if absent.
        clips: Number of clips, at least ``LEAST_CLIPS``.
        footage: Folder of videos, searched with its folders; None draws people instead.
        seed: Seed of everything that is drawn, 0 or more.
        on_clip: Told about every clip.

    Returns:
        The manifest; ``source_id`` is the footage, the signals and nuisances are extra columns.

    Raises:
        UsageError: There are too few clips, or fewer than three videos with a picture.
        MissingExtra: pyarrow is not installed.
    """
    if clips < LEAST_CLIPS:
        raise UsageError(
            f"A planted corpus of {clips} clips is too small; {LEAST_CLIPS} are needed."
        )
    random = np.random.default_rng(seed)
    if footage is None:
        sources = draw_footage(min(_DRAWN, clips), random)
    else:
        sources = read_footage(footage, min(_MOST_FOOTAGE, clips), random)
    splits = _deal(sources, footage)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(clips):
        place = number % len(sources)
        path = out / "clips" / f"planted{number:05d}.mp4"
        made.append(_plant(path, sources[place], splits[place], random))
        on_clip(number + 1, clips)
    manifest = _manifest(made, out, seed)
    write_manifest(manifest, out / "manifest.parquet")
    return manifest


def _deal(sources: list[Footage], folder: Path | None) -> list[str]:
    """Return the split of every footage, which come in random order; each split has one."""
    if len(sources) < 3:
        raise UsageError(
            f"{str(folder)!r} has {len(sources)} videos with a picture; 3 are needed, one for each "
            "split."
        )
    held = max(1, round(_HELD_SHARE * len(sources)))
    return ["validation"] * held + ["test"] * held + ["train"] * (len(sources) - 2 * held)


def _plant(path: Path, source: Footage, split: str, random: np.random.Generator) -> _SyntheticClip:
    """Make one clip and return what was put into it."""
    aims = {
        name: low + (high - low) * random.uniform(*_INNER) for name, (low, high) in SIGNALS.items()
    }
    nuisances = {
        "zoom": random.uniform(*_ZOOM),
        "contrast": random.uniform(*_CONTRAST),
        "rate": random.uniform(*_RATE),
    }
    still = source.stills[random.integers(len(source.stills))]
    ends = _picture(
        still, aims["brightness"], aims["motion"], nuisances["zoom"], nuisances["contrast"]
    )
    order = np.arange(round(SECONDS * FPS)) // _FRAMES_AT_END % 2
    rhythm = _rhythm(source.loudness, nuisances["rate"], random)
    pitch_hz = LOWEST_PITCH_HZ * 2.0 ** aims["pitch_octaves"]
    sound = _hum(rhythm, pitch_hz, aims["level_db"], random)
    ideas = round(aims["words"] * _WORDS)
    words = [*random.choice(_IDEAS, ideas), *random.choice(_THINGS, _WORDS - ideas)]
    random.shuffle(words)
    write_clip(path, ends[order], sound)
    signals = (
        ideas / _WORDS,
        10 * float(np.log10(np.mean(sound.astype(np.float64) ** 2))),
        _change(ends.astype(np.float64)),
        float(ends.mean()),
        aims["pitch_octaves"],
    )
    return _SyntheticClip(path.stem, source.name, split, " ".join(words), signals, nuisances)


def _picture(
    still: npt.NDArray[np.uint8], brightness: float, motion: float, zoom: float, contrast: float
) -> npt.NDArray[np.uint8]:
    """Light and shake a still; returns both ends of the shake, uint8 (2, height, width, 3)."""
    pixels = still.astype(np.float64)
    pixels = contrast * (pixels - pixels.mean()) / pixels.std()

    def light(pictures: Pictures) -> Pictures:
        """Add what makes them as bright as wanted in the mean."""
        level = _solve(lambda at: float(np.clip(pictures + at, 0, 255).mean()), brightness, 0, 255)
        return np.clip(pictures + level, 0, 255)

    lit = light(pixels)
    shake = _solve(lambda at: _change(_ends(lit, zoom, at)), motion, 0.0, 1.0)
    # The ends show another part of the still than the whole, so they are lit anew.
    return np.round(light(_ends(pixels, zoom, shake))).astype(np.uint8)


def _ends(pixels: Pictures, zoom: float, shake: float) -> Pictures:
    """Cut a still left and right of its middle, ``shake`` of its margin away."""
    height, width = pixels.shape[:2]
    rows, columns = height * _MARGIN / zoom, width * _MARGIN / zoom
    top, left = (height - rows) / 2, (width - columns) / 2
    # Parts of a pixel count, or little motion could not be had.
    cuts = [
        cv2.warpAffine(
            pixels,
            np.array([[columns / _SIZE[1], 0, left * (1 + side)], [0, rows / _SIZE[0], top]]),
            _SIZE[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for side in (-shake, shake)
    ]
    return np.stack(cuts)


def _change(ends: Pictures) -> float:
    """Mean difference of blocks, in grey levels: finer detail is lost to networks anyway."""
    difference = ends[1] - ends[0]
    height, width, channels = difference.shape
    blocks = difference.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, channels)
    return float(np.abs(blocks.mean(axis=(1, 3))).mean())


def _rhythm(
    loudness: npt.NDArray[np.float64], rate: float, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Play a loudness curve from somewhere, ``rate`` times as fast; float64 (sample,)."""
    at = np.arange(round(SECONDS * SOUND_RATE_HZ)) * (rate * LOUDNESS_RATE_HZ / SOUND_RATE_HZ)
    at += random.uniform(0, len(loudness))
    curve = np.interp(at, np.arange(len(loudness)), loudness, period=len(loudness))
    return np.asarray(curve, dtype=np.float64)


def _hum(
    rhythm: npt.NDArray[np.float64], pitch_hz: float, level_db: float, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Hum with many harmonics at a pitch and a level, louder and softer with a rhythm."""
    angle = 2 * np.pi * pitch_hz * np.arange(len(rhythm)) / SOUND_RATE_HZ
    wave = np.zeros(len(rhythm))
    for harmonic in range(1, int(_HIGHEST_HARMONIC_HZ / pitch_hz) + 1):
        wave += np.sin(harmonic * angle + random.uniform(0, 2 * np.pi)) / np.sqrt(harmonic)
    wave *= _QUIETEST + rhythm
    wave *= 10 ** (level_db / 20) / np.sqrt(np.mean(wave**2))
    return np.clip(wave, -0.99, 0.99).astype(np.float32)


def _solve(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Find where a rising function reaches a value; its end where it does not."""
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
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
