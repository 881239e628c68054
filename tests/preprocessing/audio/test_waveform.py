import numpy as np
import pytest
import scipy.signal

from mmperson.errors import UsageError
from mmperson.preprocessing import DescriptorSpec, to_analysis_rate
from mmperson.preprocessing.audio.waveform import check_waveform

SPEC = DescriptorSpec()
RATE_HZ = SPEC.source_rate_hz


def sine(frequency_hz, samples=RATE_HZ):
    time_s = np.arange(samples) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 2, 127, 128, 129, 4411, RATE_HZ])
def test_is_a_low_pass_and_every_second_sample(samples):
    waveform = np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)
    crossing = np.arange(-128, 129) / 2
    lowpass = 0.94759 * np.sinc(0.94759 * crossing) * np.kaiser(257, 14.76966) / 2
    expected = scipy.signal.upfirdn(lowpass, np.rint(waveform * 32768.0) / 32768.0, down=2)
    expected = expected[64 : 64 + (samples + 1) // 2]
    halved = to_analysis_rate(waveform, SPEC)
    assert halved.dtype == np.float32
    np.testing.assert_allclose(halved, expected, atol=1e-5)


def test_keeps_speech_and_drops_what_the_new_rate_cannot_hold():
    inner = slice(200, -200)
    np.testing.assert_allclose(
        to_analysis_rate(sine(1000.0), SPEC)[inner], sine(1000.0)[::2][inner], atol=5e-5
    )
    assert np.abs(to_analysis_rate(sine(12_000.0), SPEC)[inner]).max() < 5e-5


def test_rounds_to_16_bits_and_clips():
    spec = DescriptorSpec(source_rate_hz=22_050)
    waveform = np.array([0.4 / 32768, 0.6 / 32768, 1.5, -1.5, 0.25])
    expected = np.array([0.0, 1 / 32768, 32767 / 32768, -1.0, 0.25], dtype=np.float32)
    np.testing.assert_array_equal(to_analysis_rate(waveform, spec), expected)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(0, dtype=np.float32), "no samples"),
        (np.zeros((2, 100), dtype=np.float32), "shape"),
        (np.zeros(100, dtype=np.int16), "int16"),
        (np.array([0.0, np.nan]), "not a number"),
        (np.array([0.0, -np.inf]), "infinite"),
        (np.array([0.0, 20_000.0]), "32768"),
    ],
)
def test_what_is_no_waveform_is_refused(waveform, message):
    with pytest.raises(UsageError, match=message):
        check_waveform(waveform)
    with pytest.raises(UsageError, match=message):
        to_analysis_rate(waveform, SPEC)
