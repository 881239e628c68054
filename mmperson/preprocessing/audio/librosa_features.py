"""Any of librosa's features, frame by frame or as statistics over the clip.

librosa is part of the extra ``train``. Every other input is measured by numpy alone.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from mmperson.errors import MissingExtra, did_you_mean
from mmperson.preprocessing.audio.sound import SoundSpec
from mmperson.preprocessing.audio.spectrum import Float32
from mmperson.preprocessing.modality import Record


class _Feature(NamedTuple):
    """Rows of a feature, or the setting that says how many, and the settings that it takes."""

    rows: int | str
    takes: tuple[str, ...]


_SPECTRAL: Final = ("sr", "n_fft", "hop_length")
_TEMPORAL: Final = ("sr", "hop_length")
FEATURES: Final = {
    "chroma_cens": _Feature(12, _TEMPORAL),
    "chroma_cqt": _Feature(12, _TEMPORAL),
    "chroma_stft": _Feature(12, _SPECTRAL),
    "fourier_tempogram": _Feature(193, _TEMPORAL),
    "melspectrogram": _Feature("n_mels", (*_SPECTRAL, "n_mels")),
    "mfcc": _Feature("n_mfcc", (*_SPECTRAL, "n_mfcc", "n_mels")),
    "poly_features": _Feature(2, _SPECTRAL),
    "rms": _Feature(1, ("hop_length",)),
    "spectral_bandwidth": _Feature(1, _SPECTRAL),
    "spectral_centroid": _Feature(1, _SPECTRAL),
    "spectral_contrast": _Feature(7, _SPECTRAL),
    "spectral_flatness": _Feature(1, ("n_fft", "hop_length")),
    "spectral_rolloff": _Feature(1, _SPECTRAL),
    "tempo": _Feature(1, _TEMPORAL),
    "tempogram": _Feature(384, _TEMPORAL),
    "tempogram_ratio": _Feature(13, _TEMPORAL),
    "tonnetz": _Feature(6, _TEMPORAL),
    "zero_crossing_rate": _Feature(1, ("hop_length",)),
}
"""The functions of ``librosa.feature`` that measure a waveform without further arguments."""

STATISTICS: Final[Mapping[str, Callable[..., Any]]] = {
    "mean": np.mean,
    "std": np.std,
    "min": np.min,
    "max": np.max,
    "median": np.median,
}


class LibrosaSettings(Record):
    """What is measured, and over which frames.

    Attributes:
        features: Names of functions of ``librosa.feature``, in the order of the columns.
        statistics: Names from ``STATISTICS``, taken over time; without one, every frame is kept.
        source_rate_hz: Rate at which sound is read.
        window_s: Only the first seconds count.
        n_fft: Samples per analysis frame of spectral features.
        hop_length: Samples between frames; constant-Q features need a multiple of 64.
        n_mels: Bands of the mel spectrogram, also under the cepstral coefficients.
        n_mfcc: Cepstral coefficients.
    """

    features: tuple[str, ...] = Field(min_length=1, max_length=len(FEATURES))
    statistics: tuple[str, ...] = Field((), max_length=len(STATISTICS))
    source_rate_hz: int = Field(22_050, ge=16_000, le=48_000)
    window_s: float = Field(10.0, ge=1, le=120)
    n_fft: int = Field(2048, ge=64, le=16_384)
    hop_length: int = Field(512, ge=64, le=16_384, multiple_of=64)
    n_mels: int = Field(128, ge=8, le=512)
    n_mfcc: int = Field(20, ge=1, le=128)

    @field_validator("features")
    @classmethod
    def _known_features(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, FEATURES, "librosa feature")

    @field_validator("statistics")
    @classmethod
    def _known_statistics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, STATISTICS, "statistic")

    @model_validator(mode="after")
    def _no_more_coefficients_than_bands(self) -> Self:
        if "mfcc" in self.features and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) must not exceed n_mels ({self.n_mels})")
        return self


class LibrosaSpec(LibrosaSettings, SoundSpec):
    """How a waveform becomes features of librosa.

    Attributes:
        kind: Name of the representation.
    """

    may_be_shorter: ClassVar[bool] = True

    kind: Literal["librosa"] = "librosa"

    @property
    def rows(self) -> tuple[int, ...]:
        """How many columns each feature has."""
        counts = (FEATURES[name].rows for name in self.features)
        return tuple(getattr(self, rows) if isinstance(rows, str) else rows for rows in counts)

    @property
    def shape(self) -> tuple[int, ...]:
        """(time, feature), or (1, statistic of a feature)."""
        if self.statistics:
            return (1, len(self.statistics) * sum(self.rows))
        return (1 + self.samples // self.hop_length, sum(self.rows))

    @property
    def description(self) -> str:
        """What the model card says is read."""
        what = f"{', '.join(self.statistics)} over time of " if self.statistics else ""
        return f"{what}librosa's {', '.join(self.features)}; scoring needs the extra train"

    def require(self) -> None:
        """Raise unless librosa is installed.

        Raises:
            MissingExtra: It is not.
        """
        if importlib.util.find_spec("librosa") is None:
            raise MissingExtra("librosa", "train")

    def preload(self) -> None:
        """Measure a second of noise once: librosa compiles code when it is first used."""
        super().preload()
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, self.source_rate_hz)
        self.measure(noise.astype(np.float32), mono=False)

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> Float32:
        """Measure the features, float32 (time, feature), or (1, statistic of a feature).

        Raises:
            MissingExtra: librosa is not installed.
        """
        self.require()
        import librosa  # Here, because it is slow to import and part of the extra "train".

        settings = {
            name: getattr(self, name) for name in ("n_fft", "hop_length", "n_mels", "n_mfcc")
        }
        settings["sr"] = self.source_rate_hz
        waveform = waveform[: self.samples].astype(np.float32)
        frames = 1 + len(waveform) // self.hop_length
        columns = np.empty((frames, sum(self.rows)), dtype=np.float32)
        start = 0
        for name, rows in zip(self.features, self.rows, strict=True):
            given = {key: settings[key] for key in FEATURES[name].takes}
            with warnings.catch_warnings():
                # Constant-Q features look at short sound through windows that are longer still.
                warnings.filterwarnings("ignore", message="n_fft=.* is too large")
                found = getattr(librosa.feature, name)(y=waveform, **given)
            found = np.abs(found) if np.iscomplexobj(found) else found
            # The tempo is one number, which holds for all frames.
            found = found.reshape(rows, -1)[:, :frames]
            columns[:, start : start + rows] = np.nan_to_num(found.T)
            start += rows
        if not self.statistics:
            return columns
        taken = [STATISTICS[name](columns, axis=0) for name in self.statistics]
        return np.concatenate(taken).astype(np.float32)[np.newaxis]


def _known(names: tuple[str, ...], choices: Any, kind: str) -> tuple[str, ...]:
    """Refuse names that are unknown, with the nearest one, or given twice."""
    for name in names:
        if name not in choices:
            hint = did_you_mean(name, choices)
            raise ValueError(
                f"there is no {kind} {name!r}; there are {', '.join(choices)}"
                + (f" ({hint})" if hint else "")
            )
    if len(set(names)) < len(names):
        raise ValueError(f"a {kind} is named twice")
    return names
