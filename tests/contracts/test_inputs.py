"""A kind of input owns its behaviour: nothing outside its class knows it."""

import re
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest

from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.rows import read_unchanged
from mmperson.media import read_clip
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.registry import ENCODERS
from mmperson.preprocessing import InputSpec, collate, prepare_clip
from mmperson.preprocessing.audio.sound import SoundSpec
from mmperson.preprocessing.clip import ClipInputs
from tests.fixtures.media import write_clip

PACKAGE = Path(__file__).parents[2] / "mmperson"
ASKS = re.compile(r"isinstance\(.*(Spec|Encoder|Config)\b|case \w*(Spec|Encoder|Config)\(")


class PeakSpec(SoundSpec):
    """An input that the package does not know: the peak of every second."""

    may_be_shorter: ClassVar[bool] = True
    description: ClassVar[str] = "peaks"
    kind: Literal["peak"] = "peak"

    @property
    def shape(self):
        return (int(self.window_s), 1)

    def measure(self, waveform, *, mono):
        seconds = [waveform[i : i + self.source_rate_hz] for i in range(0, len(waveform), 16_000)]
        return np.array([[np.abs(second).max()] for second in seconds], dtype=np.float32)


class PeakInput(InputSpec):
    audio: PeakSpec | None = None


SPEC = PeakInput(audio=PeakSpec(window_s=4.0))


def test_nobody_asks_for_the_type_of_a_spec_an_encoder_or_a_section():
    asking = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if ASKS.search(line)
    ]
    assert asking == []


def test_a_new_input_is_read_prepared_collated_and_cached(tmp_path):
    path = str(write_clip(tmp_path / "clip.mp4", duration_s=1.9))
    inputs = prepare_clip(read_clip(path, **SPEC.read_options()), None, SPEC, None)
    assert inputs.audio.shape == (2, 1)
    batch = collate([inputs, ClipInputs()], SPEC)
    assert batch["audio_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    cache = FeatureCache(tmp_path / "cache", SPEC)
    cache.write(*read_unchanged(path, SPEC.subset(["audio"])))
    np.testing.assert_array_equal(cache.load(path, "audio"), inputs.audio)


@pytest.mark.parametrize(
    "encoder", [x for encoders in ENCODERS.values() for x in encoders.values()]
)
def test_every_encoder_says_what_it_reads(encoder):
    assert "spec" in {
        name for base in encoder.__mro__ if base is not Encoder for name in vars(base)
    }
