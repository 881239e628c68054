"""Any of librosa's features, per frame or as statistics over time.

librosa belongs to the extra ``train``. All other audio inputs need only numpy.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Collection
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator, model_validator

from mmperson.errors import MissingExtra, did_you_mean
from mmperson.preprocessing.audio.sound import SoundSpec
from mmperson.preprocessing.audio.spectrum import Float32
from mmperson.preprocessing.blas import rescan_blas_libraries


class _Feature(NamedTuple):
    """Number of rows of a feature, or the setting with that number, and the arguments it takes."""

    rows: int | str
    takes: tuple[str, ...]


_SIZES: Final = ("n_fft", "hop_length", "n_mels", "n_mfcc")
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
"""The functions of ``librosa.feature`` that need only a waveform."""

STATISTICS: Final = ("mean", "std", "min", "max", "median")
"""Functions of numpy."""


class LibrosaSpec(SoundSpec):
    """Features of librosa.

    Attributes:
        features: Names of functions of ``librosa.feature``, in the order of the columns.
        statistics: Names from ``STATISTICS``, computed over time; empty keeps every frame.
        source_rate_hz: Sample rate of the decoded audio.
        window_s: Seconds from the start that are read.
        n_fft: Samples per frame of spectral features.
        hop_length: Samples between frames; constant-Q features need a multiple of 64.
    """

    encoder = "sequence"
    settings = ("features", "statistics", "source_rate_hz", "window_s", *_SIZES)
    may_be_shorter: ClassVar[bool] = True

    kind: Literal["librosa"] = "librosa"
    features: tuple[str, ...] = Field(min_length=1, max_length=len(FEATURES))
    statistics: tuple[str, ...] = Field((), max_length=len(STATISTICS))
    source_rate_hz: int = Field(22_050, ge=16_000, le=48_000)
    window_s: float = Field(10.0, ge=1, le=120)
    n_fft: int = Field(2048, ge=64, le=16_384)
    hop_length: int = Field(512, ge=64, le=16_384, multiple_of=64)
    n_mels: int = Field(128, ge=8, le=512)
    n_mfcc: int = Field(20, ge=1, le=128)

    @field_validator("features", "statistics")
    @classmethod
    def _check_names(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        features = info.field_name == "features"
        choices: Collection[str] = FEATURES if features else STATISTICS
        kind = "librosa feature" if features else "statistic"
        for name in names:
            if name not in choices:
                hint = did_you_mean(name, choices)
                raise ValueError(
                    f"there is no {kind} {name!r}; choose from {', '.join(choices)}"
                    + (f" ({hint})" if hint else "")
                )
        if len(set(names)) < len(names):
            raise ValueError(f"a {kind} is named twice")
        return names

    @model_validator(mode="after")
    def _check_coefficients(self) -> Self:
        if "mfcc" in self.features and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) must not exceed n_mels ({self.n_mels})")
        return self

    @property
    def rows(self) -> tuple[int, ...]:
        """Number of columns of each feature."""
        counts = (FEATURES[name].rows for name in self.features)
        return tuple(getattr(self, rows) if isinstance(rows, str) else rows for rows in counts)

    @property
    def shape(self) -> tuple[int, ...]:
        """(time, feature), or with statistics (1, statistic of a feature)."""
        if self.statistics:
            return (1, len(self.statistics) * sum(self.rows))
        return (1 + self.samples // self.hop_length, sum(self.rows))

    @property
    def description(self) -> str:
        """Features and statistics, and the extra that scoring needs."""
        statistics = f"{', '.join(self.statistics)} over time of " if self.statistics else ""
        return f"{statistics}librosa's {', '.join(self.features)}; scoring needs the extra train"

    def require(self) -> None:
        """Check that librosa is installed.

        Raises:
            MissingExtra: It is not installed.
        """
        if importlib.util.find_spec("librosa") is None:
            raise MissingExtra("librosa", "train")

    def preload(self) -> None:
        """Process a second of noise: librosa compiles code on first use."""
        super().preload()
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, self.source_rate_hz)
        self.measure(noise.astype(np.float32), mono=False)

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> Float32:
        """Compute the features, float32 (time, feature), or (1, statistic of a feature).

        Raises:
            MissingExtra: librosa is not installed.
        """
        self.require()
        librosa = _import_librosa()
        settings = {name: getattr(self, name) for name in _SIZES}
        settings["sr"] = self.source_rate_hz
        waveform = waveform[: self.samples].astype(np.float32)
        frames = 1 + len(waveform) // self.hop_length
        columns = np.empty((frames, sum(self.rows)), dtype=np.float32)
        start = 0
        for name, rows in zip(self.features, self.rows, strict=True):
            arguments = {key: settings[key] for key in FEATURES[name].takes}
            with warnings.catch_warnings():
                # The windows of constant-Q features are longer than short audio.
                warnings.filterwarnings("ignore", message="n_fft=.* is too large")
                values = getattr(librosa.feature, name)(y=waveform, **arguments)
            values = np.abs(values) if np.iscomplexobj(values) else values
            # The tempo is one number for all frames.
            values = values.reshape(rows, -1)[:, :frames]
            columns[:, start : start + rows] = np.nan_to_num(values.T)
            start += rows
        if not self.statistics:
            return columns
        statistics = [getattr(np, name)(columns, axis=0) for name in self.statistics]
        return np.concatenate(statistics).astype(np.float32)[np.newaxis]


@functools.cache
def _import_librosa() -> Any:
    """Import librosa on first use, as it takes seconds; scipy brings a BLAS library of its own."""
    import librosa

    rescan_blas_libraries()
    return librosa
