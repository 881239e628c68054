import numpy as np
import pytest
import scipy.fft

from mmperson.preprocessing import DescriptorSpec
from mmperson.preprocessing.audio.spectrum import (
    chroma_filters,
    cosine_basis,
    mel_filters,
    overlapping_frames,
    power_spectrum,
)

SPEC = DescriptorSpec()


def test_frames_are_centred_and_mirrored_at_the_ends():
    spec = DescriptorSpec(n_fft=64, hop_length=16)
    waveform = np.arange(1, 101, dtype=np.float32)
    frames = overlapping_frames(waveform, spec)
    assert frames.shape == (1 + 100 // 16, 64)
    assert frames[0, 32] == 1  # The first frame's centre is the first sample.
    assert frames[2, 32] == 33
    np.testing.assert_array_equal(frames[0, 31:28:-1], [2, 3, 4])
    zeros = overlapping_frames(waveform, spec.model_copy(update={"padding": "constant"}))
    assert not zeros[0, :32].any()


def test_power_of_a_sine_is_at_its_bin():
    samples = np.arange(SPEC.n_fft * 200)  # Several chunks.
    sine = np.sin(2 * np.pi * 100 / SPEC.n_fft * samples).astype(np.float32)
    power = power_spectrum(overlapping_frames(sine, SPEC))
    inner = power[4:-4]
    assert (inner.argmax(axis=1) == 100).all()
    # A Hann window has a mean of 1/2: the peak of a unit sine is n_fft / 4.
    np.testing.assert_allclose(inner[:, 100], (SPEC.n_fft / 4) ** 2, rtol=1e-5)


@pytest.mark.parametrize(
    "spec", [SPEC, DescriptorSpec(source_rate_hz=16_000, sample_rate_hz=16_000, n_mels=40)]
)
def test_mel_filters_agree_with_librosa(spec):
    filters = pytest.importorskip("librosa", reason="librosa is the reference").filters
    expected = filters.mel(sr=spec.sample_rate_hz, n_fft=spec.n_fft, n_mels=spec.n_mels)
    np.testing.assert_allclose(
        mel_filters(spec.sample_rate_hz, spec.n_fft, spec.n_mels), expected.T, rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("tuning", [-0.5, -0.07, 0.0, 0.31])
def test_chroma_filters_agree_with_librosa(tuning):
    filters = pytest.importorskip("librosa", reason="librosa is the reference").filters
    expected = filters.chroma(sr=SPEC.sample_rate_hz, n_fft=SPEC.n_fft, tuning=tuning)
    # librosa's rows start at C, those here at A: the mean over pitch classes is the same.
    np.testing.assert_allclose(
        np.roll(chroma_filters(SPEC, tuning), -3, axis=1), expected.T, rtol=1e-5, atol=1e-7
    )


def test_cosine_basis_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=128)
    expected = scipy.fft.dct(values, norm="ortho")[:20]
    np.testing.assert_allclose(cosine_basis(128, 20) @ values, expected, atol=1e-12)


def test_shared_filters_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        mel_filters(22_050, 2048, 128)[0, 0] = 1.0
