"""A corpus whose traits are known functions of known signals: proof that learning from clips works.

Stills of real footage, or of generated faces, are zoomed, lit and shaken by known amounts; a hum of
known pitch and level follows the loudness of the footage's sound; and the transcript holds a known
share of words of one kind. Every trait is a straight line through one signal:

===================  ========  ===========================================  ===================
trait                modality  signal                                       from 0 to 1
===================  ========  ===========================================  ===================
openness             text      share of words about ideas                   0 to 1
conscientiousness    audio     level of the sound                           -42 to -14 dB
extraversion         video     mean change of a pixel within half a second  0 to 12 grey levels
agreeableness        video     mean brightness                              40 to 200 grey levels
emotional_stability  audio     pitch, on a logarithmic scale                80 to 320 Hz
===================  ========  ===========================================  ===================

The signals are drawn independently, and zoom and the rhythm of the sound vary besides. A label is
what was reached, not what was aimed at. Clips of one footage are never on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.data.manifest import Manifest, write_manifest
from mmperson.data.planted_media import (
    FPS,
    PER_CHANGE,
    SECONDS,
    SOUND_RATE_HZ,
    Footage,
    draw_faces,
    read_footage,
    write_clip,
)
from mmperson.errors import UsageError

SIGNALS: Final = {
    "words": (0.0, 1.0),
    "level_db": (-42.0, -14.0),
    "motion": (0.0, 12.0),
    "brightness": (40.0, 200.0),
    "pitch_octaves": (0.0, 2.0),
}
"""Range of each trait's signal, in the order of ``TRAITS``."""

LOWEST_PITCH_HZ: Final = 80.0

_INNER: Final = (0.05, 0.95)  # Aims keep away from the ends, which not every footage reaches.
_WORDS: Final = 24
_IDEAS: Final = ("idea", "theory", "poem", "dream", "music", "wonder", "novel", "art", "concept",
                 "vision", "story", "meaning")  # fmt: skip
_THINGS: Final = ("table", "bus", "paper", "shoe", "street", "bread", "door", "bottle", "office",
                  "box", "car", "floor")  # fmt: skip
_SPLITS: Final = (("train", 0.7), ("validation", 0.15), ("test", 0.15))

OnClip = Callable[[int, int], None]
"""Called after every clip with its number from 1 and the number of clips."""


@dataclass(frozen=True)
class _Planted:
    """What was put into one clip; the signals in the order of ``SIGNALS``."""

    name: str
    footage: str
    split: str
    words: str
    signals: tuple[float, ...]
    zoom: float


def make_planted(
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
        clips: Number of clips.
        footage: Folder of videos, searched with its folders; None draws faces instead.
        seed: Seed of everything that is drawn.
        on_clip: Told about every clip.

    Returns:
        The manifest, with the signals as extra columns.

    Raises:
        UsageError: There are too few clips, or fewer than three videos with a picture.
    """
    if clips < 10:
        raise UsageError(f"A planted corpus of {clips} clips is too small; 10 are needed.")
    random = np.random.default_rng(seed)
    sources = draw_faces(12, random) if footage is None else read_footage(footage)
    if len(sources) < len(_SPLITS):
        raise UsageError(
            f"{str(footage)!r} has {len(sources)} videos with a picture; at least "
            f"{len(_SPLITS)} are needed, one for each split."
        )
    split_of = _deal(sources, random)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(clips):
        source = sources[number % len(sources)]
        made.append(_plant(out / "clips" / f"p{number:05d}.mp4", source, split_of, random))
        on_clip(number + 1, clips)
    manifest = _manifest(made, out)
    write_manifest(manifest, out / "manifest.parquet")
    return manifest


def _deal(sources: list[Footage], random: np.random.Generator) -> dict[str, str]:
    """Give every footage to one split, every split at least one."""
    order = random.permutation(len(sources))
    held = max(1, round(_SPLITS[1][1] * len(sources)))
    names = [sources[i].name for i in order]
    return {
        name: "validation" if i < held else "test" if i < 2 * held else "train"
        for i, name in enumerate(names)
    }


def _plant(
    path: Path, source: Footage, split_of: dict[str, str], random: np.random.Generator
) -> _Planted:
    """Make one clip and return what was put into it."""
    aims = {
        name: low + (high - low) * random.uniform(*_INNER) for name, (low, high) in SIGNALS.items()
    }
    zoom = random.uniform(1.0, 1.4)
    still = source.stills[random.integers(len(source.stills))]
    frames, brightness, motion = _picture(still, zoom, aims["brightness"], aims["motion"])
    pitch_hz = LOWEST_PITCH_HZ * 2.0 ** aims["pitch_octaves"]
    sound, level_db = _hum(source.loudness, pitch_hz, aims["level_db"], random)
    ideas = round(aims["words"] * _WORDS)
    words = [*random.choice(_IDEAS, ideas), *random.choice(_THINGS, _WORDS - ideas)]
    random.shuffle(words)
    write_clip(path, frames, sound)
    signals = (ideas / _WORDS, level_db, motion, brightness, aims["pitch_octaves"])
    return _Planted(path.stem, source.name, split_of[source.name], " ".join(words), signals, zoom)


def _picture(
    still: npt.NDArray[np.float64], zoom: float, brightness: float, motion: float
) -> tuple[npt.NDArray[np.uint8], float, float]:
    """Zoom, light and shake a still; returns frames, and the brightness and motion reached."""
    height, width = still.shape[:2]
    rows, columns = round(height / zoom / 1.25), round(width / zoom / 1.25)
    top, left = (height - rows) // 2, (width - columns) // 2
    gain = _solve(lambda g: float(np.minimum(g * still, 255).mean()), brightness, 0.02, 40.0)
    lit = np.minimum(gain * still, 255)

    def pair(shift: float) -> list[npt.NDArray[np.float64]]:
        """Cut the picture at both ends of the shake, ``shift`` of its margin apart."""
        offset = round(shift * left)
        cuts = (lit[top : top + rows, left + o : left + o + columns] for o in (-offset, offset))
        return [_to_size(cut) for cut in cuts]

    def change(shift: float) -> float:
        a, b = pair(shift)
        return float(np.abs(a - b).mean())

    shift = _solve(change, motion, 0.0, 1.0)
    ends = [np.round(end).astype(np.uint8) for end in pair(shift)]
    frames = [ends[(index // PER_CHANGE) % 2] for index in range(round(SECONDS * FPS))]
    return np.stack(frames), float(np.mean(ends)), change(shift)


def _to_size(cut: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    import cv2

    size = (128, 96)
    return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_LINEAR), dtype=np.float64)


def _hum(
    loudness: npt.NDArray[np.float64], pitch_hz: float, level_db: float, random: np.random.Generator
) -> tuple[npt.NDArray[np.float32], float]:
    """A hum of many harmonics under a loudness curve; returns it and its level in decibels."""
    samples = round(SECONDS * SOUND_RATE_HZ)
    start = random.integers(max(1, len(loudness) - 1))
    curve = np.roll(loudness, -int(start))
    curve = np.interp(np.linspace(0, SECONDS * 100, samples), np.arange(len(curve)), curve)
    time_s = np.arange(samples) / SOUND_RATE_HZ
    harmonics = np.arange(1, int(3000 / pitch_hz) + 1)
    phases = random.uniform(0, 2 * np.pi, len(harmonics))
    angle = 2 * np.pi * pitch_hz * time_s
    wave = sum(np.sin(k * angle + p) / np.sqrt(k) for k, p in zip(harmonics, phases, strict=True))
    wave = wave * (0.3 + curve)
    wave *= 10 ** (level_db / 20) / np.sqrt(np.mean(wave**2))
    wave = np.clip(wave, -0.99, 0.99)
    return wave.astype(np.float32), float(10 * np.log10(np.mean(wave**2)))


def _solve(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Find where a rising function reaches a value; its end where it does not."""
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def _manifest(made: list[_Planted], out: Path) -> Manifest:
    signals = np.array([clip.signals for clip in made])
    low, high = np.array(list(SIGNALS.values())).T
    return Manifest(
        sample_id=np.array([clip.name for clip in made]),
        source_id=np.array([clip.footage for clip in made]),
        split=np.array([clip.split for clip in made]),
        fold=np.full(len(made), -1),
        clip=tuple(str((out / "clips" / f"{clip.name}.mp4").resolve()) for clip in made),
        transcript=tuple(clip.words for clip in made),
        targets=np.clip((signals - low) / (high - low), 0.0, 1.0),
        descriptors=np.full((len(made), 26), np.nan, dtype=np.float32),
        extras={
            **{name: signals[:, i] for i, name in enumerate(SIGNALS)},
            "zoom": np.array([clip.zoom for clip in made]),
        },
        provenance={
            "corpus": "planted",
            "terms": "those of the footage; the labels say nothing about people",
        },
    )
