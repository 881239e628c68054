import importlib.util
import inspect

import numpy as np
import pytest

from mmperson.config import parse_recipe
from mmperson.errors import ConfigError, MissingExtra
from mmperson.preprocessing import InputSpec, LibrosaSpec, collate, prepare_clip
from mmperson.preprocessing.audio.librosa_features import FEATURES, STATISTICS
from mmperson.preprocessing.clip import ClipInputs

librosa = pytest.importorskip("librosa", reason="the extra 'train' brings it")
RATE_HZ = 22_050


def noise(seconds, rate_hz=RATE_HZ):
    size = round(seconds * rate_hz)
    return np.random.default_rng(0).normal(scale=0.1, size=size).astype(np.float32)


def test_every_feature_that_needs_only_a_waveform_is_known():
    alone = set()
    for name in librosa.feature.__all__:
        function = getattr(librosa.feature, name)
        given = inspect.signature(function).parameters if callable(function) else {}
        others = [x for x in given.values() if x.name != "y" and x.kind != x.VAR_KEYWORD]
        if "y" in given and not any(x.default is x.empty for x in others):
            alone.add(name)
    assert set(FEATURES) == alone


@pytest.mark.parametrize("rate_hz", [16_000, RATE_HZ])
@pytest.mark.parametrize("seconds", [0.1, 1.3])
def test_all_features_side_by_side_are_finite(seconds, rate_hz):
    spec = LibrosaSpec(features=tuple(FEATURES), source_rate_hz=rate_hz, window_s=2.0)
    found = spec.measure(noise(seconds, rate_hz), mono=False)
    assert found.dtype == np.float32
    assert len(found) == 1 + round(seconds * rate_hz) // spec.hop_length
    assert np.isfinite(found).all()
    assert spec.fits(found.dtype, found.shape)


def test_features_are_those_of_librosa_in_their_order():
    spec = LibrosaSpec(features=("mfcc", "rms", "tempo"), n_mfcc=13, n_mels=40, hop_length=256)
    waveform = noise(2.0)
    found = spec.measure(waveform, mono=False).T
    common = {"y": waveform, "hop_length": 256}
    mfcc = librosa.feature.mfcc(**common, sr=RATE_HZ, n_mfcc=13, n_mels=40)
    np.testing.assert_allclose(found[:13], mfcc, rtol=1e-5)
    np.testing.assert_allclose(found[13:14], librosa.feature.rms(**common), rtol=1e-5)
    assert set(found[14]) == set(librosa.feature.tempo(**common, sr=RATE_HZ).astype(np.float32))


def test_statistics_are_over_time():
    names = tuple(STATISTICS)
    waveform = noise(1.5)
    series = LibrosaSpec(features=("mfcc", "rms")).measure(waveform, mono=False)
    spec = LibrosaSpec(features=("mfcc", "rms"), statistics=names)
    found = spec.measure(waveform, mono=False)
    assert found.shape == spec.shape == (1, 5 * 21)
    expected = np.concatenate([getattr(np, name)(series, axis=0) for name in names])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_short_and_absent_sound_is_masked(make_clip):
    spec = InputSpec(audio=LibrosaSpec(features=("rms",), window_s=2.0))
    clip = prepare_clip(make_clip(noise(1.0), rate_hz=RATE_HZ), None, spec, None)
    batch = collate([clip, ClipInputs()], spec)
    assert batch["audio"].shape == (2, 87, 1)
    assert batch["audio_mask"].sum(axis=1).tolist() == [44, 1]
    silent = prepare_clip(make_clip(np.zeros(RATE_HZ, "f4"), rate_hz=RATE_HZ), None, spec, None)
    assert "silent" in silent.absent["audio"]


def test_without_librosa_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"'librosa'.* pip install 'mmperson\[train\]'"):
        InputSpec(audio=LibrosaSpec(features=("rms",))).require()
    InputSpec().require()


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"features": ["mfc"]}, "no librosa feature 'mfc'.*Did you mean 'mfcc'"),
        ({"features": ["rms"], "statistics": ["meen"]}, "no statistic 'meen'.*mean 'mean'"),
        ({"features": ["rms", "rms"]}, "named twice"),
        ({"features": []}, "audio.features"),
        ({"features": ["mfcc"], "n_mels": 16}, r"n_mfcc \(20\) must not exceed n_mels \(16\)"),
        ({"features": ["rms"], "hop_length": 500}, "multiple of 64"),
        ({"feature": ["rms"]}, "Did you mean 'features'"),
    ],
)
def test_a_recipe_that_cannot_be_measured_is_refused(section, problem):
    recipe = {"name": "x", "data": {"manifest": "m"}, "audio": {"name": "librosa", **section}}
    with pytest.raises(ConfigError, match=problem):
        parse_recipe(recipe, source="test")
