"""Defaults and bounds of the input specs: bundles hash the settings, so they are a contract."""

import math

import pytest
from pydantic import ValidationError

from mmperson.preprocessing import (
    ColumnSpec,
    DescriptorSpec,
    DialogueSpec,
    FrameSpec,
    LibrosaSpec,
    LogMelSpec,
    ProsodySpec,
    TextSpec,
    WaveformSpec,
)

SHA = "0" * 64
NEEDED = {
    ColumnSpec: {"columns": ("a",)},
    LibrosaSpec: {"features": ("rms",)},
    TextSpec: {"tokenizer_sha256": SHA},
    DialogueSpec: {"tokenizer_sha256": SHA, "marker": 1},
}
SOUND = {"window_s": 10.0, "min_duration_s": 0.1, "silence_peak": 1e-4}
DEFAULTS = {
    FrameSpec: {
        "views": ("scene",),
        "count": 16,
        "short_side": 256,
        "height": 224,
        "width": 224,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    DescriptorSpec: SOUND
    | {
        "source_rate_hz": 44_100,
        "window_s": 7.0,
        "sample_rate_hz": 22_050,
        "n_fft": 2048,
        "hop_length": 512,
        "n_mels": 128,
        "n_mfcc": 20,
        "padding": "reflect",
        "mono_gain": math.sqrt(0.5),
    },
    ProsodySpec: SOUND | {"source_rate_hz": 16_000, "window_s": 60.0, "features": 21},
    LogMelSpec: SOUND
    | {
        "source_rate_hz": 16_000,
        "window_length": 400,
        "n_fft": 512,
        "hop_length": 160,
        "n_mels": 64,
    },
    WaveformSpec: SOUND | {"source_rate_hz": 16_000},
    LibrosaSpec: SOUND
    | {
        "source_rate_hz": 22_050,
        "statistics": (),
        "n_fft": 2048,
        "hop_length": 512,
        "n_mels": 128,
        "n_mfcc": 20,
    },
    TextSpec: {"max_tokens": 128, "prompts": ()},
    DialogueSpec: {"max_tokens": 128, "prompts": ()},
}

FREE = {  # Other settings under which the bounds below do not contradict each other.
    DescriptorSpec: {"n_mfcc": 1},
    LibrosaSpec: {"n_mfcc": 1},
}
WHOLE = (
    (FrameSpec, "count", 1, 1024),
    (FrameSpec, "short_side", 224, 2048),
    (FrameSpec, "height", 16, 256),
    (FrameSpec, "width", 16, 256),
    (DescriptorSpec, "n_mels", 8, 512),
    (DescriptorSpec, "n_mfcc", 1, 128),
    (ProsodySpec, "source_rate_hz", 8_000, 192_000),
    (LogMelSpec, "source_rate_hz", 8_000, 192_000),
    (LogMelSpec, "hop_length", 16, 16_384),
    (LogMelSpec, "n_mels", 8, 512),
    (WaveformSpec, "source_rate_hz", 8_000, 192_000),
    (LibrosaSpec, "n_mels", 8, 512),
    (TextSpec, "max_tokens", 8, 8192),
    (DialogueSpec, "max_tokens", 8, 8192),
    (DialogueSpec, "marker", 1, None),
)
SECONDS = (
    *((spec, "window_s", 0.0, 600.0) for spec in (ProsodySpec, WaveformSpec, LogMelSpec)),
    *((spec, "min_duration_s", 0.0, 600.0) for spec in (ProsodySpec, WaveformSpec, LogMelSpec)),
)


def build(spec, **values):
    return spec(**{**NEEDED.get(spec, {}), **FREE.get(spec, {}), **values})


@pytest.mark.parametrize("spec", DEFAULTS, ids=lambda spec: spec.__name__)
def test_the_defaults_are_a_contract(spec):
    made = spec(**NEEDED.get(spec, {}))
    assert {name: getattr(made, name) for name in DEFAULTS[spec]} == DEFAULTS[spec]


@pytest.mark.parametrize(("spec", "name", "low", "high"), WHOLE)
def test_whole_numbers_stop_at_their_bounds(spec, name, low, high):
    assert getattr(build(spec, **{name: low}), name) == low
    for outside in (low - 1, *([] if high is None else [high + 1])):
        with pytest.raises(ValidationError):
            build(spec, **{name: outside})
    if high is not None:
        assert getattr(build(spec, **{name: high}), name) == high


@pytest.mark.parametrize(("spec", "name", "low", "high"), SECONDS)
def test_seconds_stop_at_their_bounds(spec, name, low, high):
    assert getattr(build(spec, **{name: high}), name) == high
    for outside in (low, math.nextafter(high, math.inf)):
        with pytest.raises(ValidationError):
            build(spec, **{name: outside})


@pytest.mark.parametrize(
    ("spec", "name", "inside", "outside"),
    [
        (LibrosaSpec, "window_s", (1.0, 120.0), (0.999, 120.001)),
        (LibrosaSpec, "source_rate_hz", (16_000, 48_000), (15_999, 48_001)),
        (LibrosaSpec, "hop_length", (64, 512), (63, 65, 100)),
        (LibrosaSpec, "statistics", ((),), (("mean",) * 6,)),
        (WaveformSpec, "silence_peak", (0.0, 0.999), (-1e-9, 1.0)),
        (DescriptorSpec, "mono_gain", (1e-9, 1.0), (0.0, 1.001)),
        (FrameSpec, "std", ((1e-9, 1.0, 1.0),), ((0.0, 1.0, 1.0), (1.0, 1.0, -1.0))),
        (FrameSpec, "views", (("face",), ("scene", "face", "motion")), ((),)),
        (ColumnSpec, "columns", (("a",), tuple(map(str, range(4096)))), ((), ("a",) * 4097)),
    ],
)
def test_other_settings_stop_at_their_bounds(spec, name, inside, outside):
    for value in inside:
        assert getattr(build(spec, **{name: value}), name) == value
    for value in outside:
        with pytest.raises(ValidationError):
            build(spec, **{name: value})
