import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmperson.errors import UsageError
from mmperson.media import AudioWindow, read_clip
from mmperson.preprocessing import PROSODY, ProsodySpec, prosody
from mmperson.preprocessing.audio.pitch import PitchTrack, _peak_scores, runs, track_pitch
from mmperson.preprocessing.audio.prosody import _spectral_balance

SPEC = ProsodySpec()
RATE_HZ = SPEC.source_rate_hz


# Formants that have died away before the next pulse, so that pulses do not move each other's peaks.
DAMPED = ((700, 250, 1.0), (1200, 300, 0.5), (2500, 400, 0.25))


def measure(waveform, spec=SPEC):
    return dict(zip(PROSODY, prosody(waveform, spec).tolist(), strict=True))


def pitch_hz(cues):
    return 27.5 * 2 ** (cues["pitch_median"] / 12)


def noise(samples, scale=0.1, seed=0):
    return np.random.default_rng(seed).normal(scale=scale, size=samples).astype(np.float32)


def tone(frequency_hz, duration_s=1.0, rate_hz=RATE_HZ):
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def voice(
    frequency_hz,
    duration_s=2.0,
    *,
    period_sd=0.0,
    height_sd_db=0.0,
    formants=((600, 80, 1.0), (1200, 100, 0.5), (2500, 150, 0.25)),
    rate_hz=RATE_HZ,
):
    """Pulses of a glottis, each ringing in formants: (frequency, bandwidth, height)."""
    random = np.random.default_rng(0)
    waveform = np.zeros(round(duration_s * rate_hz) + rate_hz // 10)
    pulse_s = 0.0
    while pulse_s < duration_s:
        height = 0.25 * 10 ** (height_sd_db * random.normal() / 20)
        first = int(np.ceil(pulse_s * rate_hz))
        time_s = np.arange(first, first + rate_hz // 20) / rate_hz - pulse_s
        for formant_hz, width_hz, share in formants:
            ringing = np.sin(2 * np.pi * formant_hz * time_s) * np.exp(-np.pi * width_hz * time_s)
            waveform[first : first + len(time_s)] += height * share * ringing
        pulse_s += (1 + period_sd * random.normal()) / frequency_hz
    return waveform[: round(duration_s * rate_hz)].astype(np.float32)


def speech_like(phrases_s, pauses_s, syllables_per_s=4.0):
    """Phrases of syllables, with silence between them."""
    pieces = []
    for phrase_s, pause_s in zip(phrases_s, [*pauses_s, 0.0], strict=True):
        time_s = np.arange(round(phrase_s * RATE_HZ)) / RATE_HZ
        beat = 0.55 - 0.45 * np.cos(2 * np.pi * syllables_per_s * time_s)
        pieces += [voice(140.0, phrase_s) * beat, np.zeros(round(pause_s * RATE_HZ))]
    return np.concatenate(pieces).astype(np.float32)


@pytest.mark.parametrize("frequency_hz", [65.0, 90.0, 123.4, 180.0, 251.0, 320.0, 390.0])
@pytest.mark.parametrize("make", [tone, voice])
def test_pitch_of_steady_sounds(make, frequency_hz):
    cues = measure(make(frequency_hz))
    assert pitch_hz(cues) == pytest.approx(frequency_hz, rel=0.01)
    assert cues["pitch_range"] < 0.1
    assert cues["voiced_share"] > 0.9


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100])
def test_pitch_does_not_depend_on_the_rate(rate_hz):
    cues = measure(voice(150.0, rate_hz=rate_hz), ProsodySpec(source_rate_hz=rate_hz))
    assert pitch_hz(cues) == pytest.approx(150.0, rel=0.01)


def test_a_missing_fundamental_is_heard():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    overtones = sum(np.sin(2 * np.pi * 130.0 * number * time_s) for number in (3, 4, 5, 6))
    assert pitch_hz(measure((0.1 * overtones).astype(np.float32))) == pytest.approx(130, rel=0.01)


def test_a_glide_has_range_and_slope():
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    phase = 2 * np.pi * 110.0 * (2 ** (time_s / 2) - 1) * 2 / np.log(2)  # Half an octave a second.
    cues = measure((0.3 * np.sin(phase) + 0.1 * np.sin(2 * phase)).astype(np.float32))
    assert cues["pitch_slope"] == pytest.approx(6.0, rel=0.03)
    assert cues["pitch_range"] == pytest.approx(0.9 * 12, rel=0.03)
    assert cues["pitch_iqr"] == pytest.approx(0.5 * 12, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["clips/talking/whisper_jfk.flac", "first_impressions_v2/clips/_G3kw9HwCqY.000.mp4"],
)
def test_the_pitch_of_real_clips_agrees_with_librosa(shared_data, name):
    librosa = pytest.importorskip("librosa", reason="librosa is the reference")
    waveform = read_clip(shared_data / name, audio=AudioWindow(RATE_HZ, duration_s=6.0)).waveform
    expected, voiced, _ = librosa.pyin(
        waveform, fmin=60, fmax=400, sr=RATE_HZ, frame_length=1024, hop_length=160
    )
    level_db = 20 * np.log10(librosa.feature.rms(y=waveform, frame_length=512, hop_length=160)[0])
    heard = level_db > level_db.max() - 25
    track = track_pitch(waveform, 160 * np.arange(len(expected)), heard, RATE_HZ)
    both = voiced & track.voiced
    assert both.sum() > 0.85 * (voiced & heard).sum()
    semitones = np.abs(12 * np.log2(track.f0_hz[both] / expected[both]))
    assert np.median(semitones) < 0.15
    assert (semitones < 1).mean() > 0.95


@pytest.mark.parametrize("noise_scale", [0.0, 0.001, 0.01])
def test_pauses_and_phrases_are_those_that_were_made(noise_scale):
    waveform = speech_like([2.0, 1.5, 3.0], [0.5, 0.9])
    waveform += noise(len(waveform), noise_scale)
    cues = measure(waveform)
    assert cues["pauses_per_minute"] == pytest.approx(60 * 2 / 7.9, rel=0.01)
    assert cues["pause_mean_s"] == pytest.approx(0.7, abs=0.08)
    assert cues["pause_sd_s"] == pytest.approx(0.2, abs=0.03)
    assert cues["phrase_mean_s"] == pytest.approx(6.5 / 3, abs=0.06)
    assert cues["speaking_share"] == pytest.approx(6.5 / 7.9, abs=0.03)


def test_silence_at_the_ends_is_no_pause_and_a_short_gap_neither():
    around = np.zeros(RATE_HZ, dtype=np.float32)
    cues = measure(np.concatenate([around, speech_like([1.5, 1.5], [0.15]), around]))
    assert cues["pauses_per_minute"] == 0
    assert cues["phrase_mean_s"] == pytest.approx(3.15, abs=0.1)
    assert cues["speaking_share"] == pytest.approx(3.15 / 5.15, abs=0.02)


@pytest.mark.parametrize("syllables_per_s", [2.0, 4.0, 6.0])
def test_syllables_are_counted(syllables_per_s):
    cues = measure(speech_like([3.0, 3.0], [1.0], syllables_per_s))
    assert cues["articulation_rate"] == pytest.approx(syllables_per_s, rel=0.08)
    assert cues["speaking_rate"] == pytest.approx(syllables_per_s * 6 / 7, rel=0.05)


def test_beats_of_noise_are_no_syllables():
    time_s = np.arange(3 * RATE_HZ) / RATE_HZ
    waveform = noise(len(time_s)) * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * time_s))
    cues = measure(waveform.astype(np.float32))
    assert cues["speaking_rate"] == cues["voiced_share"] == cues["pitch_median"] == 0


@pytest.mark.parametrize("frequency_hz", [110.0, 200.0])
def test_jitter_is_the_planted_one(frequency_hz):
    planted = np.array([0.0, 0.005, 0.01, 0.02])
    cues = [measure(voice(frequency_hz, period_sd=sd, formants=DAMPED)) for sd in planted]
    jitter = np.array([cue["jitter"] for cue in cues])
    # The mean difference of two independent normal values is 2 / sqrt(pi) standard deviations.
    np.testing.assert_allclose(jitter, planted * 2 / np.sqrt(np.pi), rtol=0.2, atol=1e-3)
    assert np.all(np.diff([cue["harmonics_to_noise_db"] for cue in cues]) < -3)


@pytest.mark.parametrize("frequency_hz", [110.0, 200.0])
def test_shimmer_is_the_planted_one(frequency_hz):
    planted = np.array([0.0, 0.25, 0.5, 1.0])
    cues = [measure(voice(frequency_hz, height_sd_db=sd, formants=DAMPED)) for sd in planted]
    shimmer_db = np.array([cue["shimmer_db"] for cue in cues])
    np.testing.assert_allclose(shimmer_db, planted * 2 / np.sqrt(np.pi), rtol=0.2, atol=0.05)


@pytest.mark.parametrize("ratio_db", [5.0, 10.0, 15.0, 20.0])
def test_the_harmonics_to_noise_ratio_is_the_planted_one(ratio_db):
    clean = voice(120.0)
    noisy = clean + noise(len(clean), np.std(clean) / 10 ** (ratio_db / 20))
    assert measure(noisy)["harmonics_to_noise_db"] == pytest.approx(ratio_db, abs=1.0)


def test_breath_lowers_the_cepstral_peak():
    clean = voice(120.0)
    peaks_db = [
        measure(clean + noise(len(clean), scale))["cepstral_peak_db"]
        for scale in (0.0, 0.003, 0.01, 0.03)
    ]
    assert np.all(np.diff(peaks_db) < -1)


def test_a_brighter_voice_has_less_power_below_1_khz_and_falls_less():
    dark = measure(voice(120.0, formants=((500, 80, 1.0), (1500, 100, 0.1), (2500, 150, 0.01))))
    bright = measure(voice(120.0, formants=((500, 80, 1.0), (1500, 100, 0.9), (2500, 150, 0.9))))
    assert bright["alpha_ratio_db"] < dark["alpha_ratio_db"] - 10
    assert bright["spectral_tilt"] > dark["spectral_tilt"] + 1


def test_the_tilt_of_a_power_law_is_its_exponent():
    bins = np.arange(1025) * RATE_HZ / 2048
    power = np.where(bins > 0, 1e6 / np.maximum(bins, 1) ** 2, 0).astype(np.float32)
    one = np.ones(1)
    track = PitchTrack(np.zeros(1, dtype=np.int64), 120 * one, one, power[np.newaxis])
    _, tilt = _spectral_balance(track, RATE_HZ)
    assert tilt == pytest.approx(-20 * np.log10(2), rel=1e-4)  # dB per octave


def test_of_equal_neighbours_one_is_the_peak():
    lags = np.arange(10, 15)
    scores = _peak_scores(np.array([[0, 0.5, 0.5, 0.5, 0]], dtype=np.float32), lags)
    assert np.isfinite(scores).tolist() == [[False, False, True]]


def test_the_alpha_ratio_of_two_tones():
    cues = measure(tone(200.0) + 0.1 * tone(2000.0))
    assert cues["alpha_ratio_db"] == pytest.approx(20.0, abs=0.1)


def test_the_level_of_two_loudnesses():
    cues = measure(np.concatenate([tone(200.0, 2.0), 0.25 * tone(200.0, 2.0)]))
    louder_db = 20 * np.log10(0.5 / np.sqrt(2))
    step_db = 20 * np.log10(4)
    assert cues["level_mean_db"] == pytest.approx(louder_db - step_db / 2, abs=0.2)
    assert cues["level_sd_db"] == pytest.approx(step_db / 2, rel=0.05)
    assert cues["level_range_db"] == pytest.approx(step_db, rel=0.05)


@pytest.mark.parametrize("gain", [0.03, 1.7])
def test_only_the_mean_level_depends_on_the_recording_level(gain):
    waveform = speech_like([2.0, 1.0], [0.6])
    waveform += noise(len(waveform), 0.001)
    cues, scaled = measure(waveform), measure(np.float32(gain) * waveform)
    gain_db = scaled.pop("level_mean_db") - cues.pop("level_mean_db")
    assert gain_db == pytest.approx(20 * np.log10(gain), abs=1e-3)
    assert scaled == pytest.approx(cues, rel=1e-3, abs=1e-4)


def test_an_offset_is_not_heard():
    waveform = speech_like([2.0, 1.0], [0.6])
    shifted = measure(waveform + np.float32(0.2))
    assert shifted == pytest.approx(measure(waveform), rel=0.01, abs=0.01)


def test_polarity_is_not_heard():
    waveform = voice(130.0, period_sd=0.01)
    assert measure(-waveform) == pytest.approx(measure(waveform), rel=1e-4, abs=1e-5)


def test_only_the_window_counts():
    spec = ProsodySpec(window_s=1.0)
    waveform = np.concatenate([voice(150.0, 1.0), tone(300.0)])
    np.testing.assert_array_equal(prosody(waveform, spec), prosody(waveform[:RATE_HZ], spec))


def test_the_same_sound_gives_the_same_numbers():
    waveform = speech_like([1.0, 1.0], [0.5])
    first = prosody(waveform, SPEC)
    assert first.dtype == np.float32
    assert first.shape == (len(PROSODY),) == SPEC.shape
    np.testing.assert_array_equal(first, prosody(waveform.astype(np.float64), SPEC))


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(RATE_HZ, dtype=np.float32),
        np.ones(RATE_HZ, dtype=np.float32),
        np.full(1, 0.5, dtype=np.float32),
    ],
)
def test_silence_has_neither_speech_nor_pitch(waveform):
    cues = measure(waveform)
    assert cues.pop("level_mean_db") == pytest.approx(-100)
    assert set(cues.values()) == {0.0}


def test_a_click_is_no_speech():
    waveform = np.zeros(3 * RATE_HZ, dtype=np.float32)
    waveform[RATE_HZ] = 1.0
    cues = measure(waveform)
    assert cues["speaking_share"] == cues["voiced_share"] == cues["speaking_rate"] == 0


def test_a_tenth_of_a_second_has_a_pitch():
    assert pitch_hz(measure(voice(200.0, 0.1))) == pytest.approx(200.0, rel=0.02)


def test_a_waveform_is_refused_that_is_none():
    with pytest.raises(UsageError, match="not a number"):
        prosody(np.array([0.0, np.nan], dtype=np.float32), SPEC)


@settings(max_examples=60, deadline=None)
@given(
    waveform=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.integers(1, 8000),
        elements=st.floats(-64, 64, width=32),
        fill=st.sampled_from([0.0, 1.0, -1.0, 1e-30, 2.0**-149]),
    ),
    rate_hz=st.sampled_from([8_000, 11_025, 16_000]),
    period=st.integers(2, 400),
)
def test_any_waveform_gives_finite_numbers(waveform, rate_hz, period):
    periodic = waveform[np.arange(len(waveform)) % period % len(waveform)]
    for sound in (waveform, periodic):
        cues = prosody(sound, ProsodySpec(source_rate_hz=rate_hz))
        assert cues.shape == (len(PROSODY),)
        assert np.isfinite(cues).all()


def test_runs_are_the_stretches_of_true_values():
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, dtype=bool)) == []


# Written down once from this code, where the tests above hold it to planted values; a change of any
# constant of the phonetics shows here. Bundles name no version of these features.
MADE = {
    "a rough voice": lambda: voice(140.0, 1.5, period_sd=0.03, height_sd_db=2.0),
    "a high voice in noise": lambda: voice(260.0, 1.2, formants=DAMPED) + noise(19_200, 0.01),
    "phrases and pauses": lambda: (
        speech_like([1.0, 0.7, 1.3], [0.28, 0.5], 5.0) + noise(60_480, 0.0005)
    ),
}
VALUES = {
    "speaking_rate": (3.3333, 0.83333, 4.2328),
    "articulation_rate": (3.3333, 0.83333, 4.8338),
    "speaking_share": (1, 1, 0.87566),
    "pauses_per_minute": (0, 0, 15.873),
    "pause_mean_s": (0, 0, 0.47),
    "pause_sd_s": (0, 0, 0),
    "phrase_mean_s": (1.5, 1.2, 1.655),
    "pitch_median": (28.005, 38.891, 28.177),
    "pitch_iqr": (0.75723, 0.002793, 0.00027928),
    "pitch_range": (12.276, 0.0067708, 0.00077837),
    "pitch_slope": (148.08, 0.061284, 0.011472),
    "voiced_share": (0.96, 1, 0.90634),
    "level_mean_db": (-19.753, -21.809, -26.303),
    "level_sd_db": (0.82855, 0.074555, 5.154),
    "level_range_db": (2.5861, 0.11881, 15.142),
    "jitter": (0.030153, 0.0020512, 0.00045122),
    "shimmer_db": (1.7293, 0.21029, 1.6253),
    "harmonics_to_noise_db": (5.8432, 17.29, 22.493),
    "alpha_ratio_db": (6.8675, 5.6021, 7.2573),
    "spectral_tilt": (-3.6813, -0.62454, -4.8386),
    "cepstral_peak_db": (31.651, 24.449, 35.744),
}


@pytest.mark.parametrize(("number", "name"), [*enumerate(MADE)])
def test_made_sounds_keep_their_values(number, name):
    expected = {feature: values[number] for feature, values in VALUES.items()}
    assert measure(MADE[name]()) == pytest.approx(expected, rel=2e-3, abs=1e-4)
