"""Twenty-one prosodic features: speech rate, pauses, pitch, level and voice quality.

They are standard measures of phonetics, over the whole clip. Only the mean level depends on the
recording level. The code needs only numpy and takes about 40 ms for 15 s of speech.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmperson.preprocessing.audio.pitch import (
    HIGHEST_HZ,
    LOWEST_HZ,
    PitchTrack,
    cycle_peaks,
    runs,
    track_pitch,
)
from mmperson.preprocessing.audio.sound import SoundSpec
from mmperson.preprocessing.audio.spectrum import A0_HZ, Float32, Float64
from mmperson.preprocessing.audio.waveform import check_waveform

PROSODY: Final = (
    "speaking_rate",
    "articulation_rate",
    "speaking_share",
    "pauses_per_minute",
    "pause_mean_s",
    "pause_sd_s",
    "phrase_mean_s",
    "pitch_median",
    "pitch_iqr",
    "pitch_range",
    "pitch_slope",
    "voiced_share",
    "level_mean_db",
    "level_sd_db",
    "level_range_db",
    "jitter",
    "shimmer_db",
    "harmonics_to_noise_db",
    "alpha_ratio_db",
    "spectral_tilt",
    "cepstral_peak_db",
)
"""Names of the features, in order; ``prosody`` defines them."""

_FRAMES_PER_S: Final = 100
_LEVEL_FRAMES: Final = 7  # About the 64 ms over which de Jong and Wempe measure intensity.
_LEAST_POWER: Final = 1e-10  # -100 dB
# De Jong and Wempe 2009: speech lies within 25 dB of the loud parts, and a syllable is 2 dB above
# the dips around it. Their script takes pauses from 0.3 s and phrases from 0.1 s on.
_SPEECH_RANGE_DB: Final = 25.0
_SYLLABLE_DIP_DB: Final = 2.0
_ABOVE_NOISE_DB: Final = 6.0
_LEAST_RANGE_DB: Final = 15.0
_LEAST_PAUSE_S: Final = 0.3
_LEAST_PHRASE_S: Final = 0.1
# Cycles that differ by larger factors are not successive; Praat's defaults.
_PERIOD_FACTOR: Final = 1.3
_HEIGHT_FACTOR: Final = 1.6
# Alpha ratio; Eyben et al. 2016.
_ALPHA_BANDS_HZ: Final = (50.0, 1000.0, 5000.0)
_TILT_FROM_HZ: Final = 100.0
_QUEFRENCY_FROM_S: Final = 1e-3  # The vocal tract lies below; Hillenbrand et al. 1994.
_HIGHEST_PERIODICITY: Final = 1.0 - 1e-5  # 50 dB, more than any voice.
_FRAMES_AT_ONCE: Final = 128  # So that intermediate values fit the processor's cache.
_TINY: Final = 1e-30


class ProsodySpec(SoundSpec):
    """Prosodic features. The window is long, because pauses and phrases are."""

    description: ClassVar[str] = "prosody"

    encoder = "vector"

    kind: Literal["prosody"] = "prosody"
    window_s: float = Field(60.0, gt=0, le=600)
    features: Literal[21] = 21

    @property
    def shape(self) -> tuple[int, ...]:
        """(feature,)."""
        return (self.features,)

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> Float32:
        """Compute the features, float32 (feature,)."""
        return prosody(waveform, self)


def prosody(waveform: npt.NDArray[Any], spec: ProsodySpec) -> Float32:
    """Compute the prosodic features of the first ``window_s`` seconds of a waveform.

    Args:
        waveform: float32 or float64 (sample,), mono at ``spec.source_rate_hz``, full scale 1.
        spec: The settings.

    Returns:
        float32 (feature,) in the order of ``PROSODY``. Undefined features, such as the pitch of a
        whisper, are 0.

        - Syllables per second of the clip and of speech; speech as a share of the clip, in [0, 1].
        - Pauses per minute; mean and standard deviation of their length, and mean length of
          phrases, in seconds. Silence at both ends is not a pause.
        - Pitch in semitones above 27.5 Hz: median, interquartile range, range from the 5 % to the
          95 % quantile, mean absolute slope in semitones per second; the share of speech that is
          voiced, in [0, 1].
        - Level of speech in dB of full scale: mean, standard deviation, range from the 5 % to the
          95 % quantile.
        - Jitter, the mean difference of successive periods relative to the mean period; shimmer,
          the mean difference of successive peaks in dB; harmonics-to-noise ratio in dB; alpha
          ratio, power below over power above 1 kHz, in dB; spectral tilt in dB per octave; cepstral
          peak prominence in dB.

    Raises:
        UsageError: The waveform is empty, not finite, or far beyond full scale.

    Source:
        De Jong and Wempe, Praat script to detect syllable nuclei and measure speech rate
        automatically, Behavior Research Methods 41, 2009. Eyben et al., The Geneva minimalistic
        acoustic parameter set, IEEE Transactions on Affective Computing 7, 2016. Hillenbrand,
        Cleveland and Erickson, Acoustic correlates of breathy vocal quality, Journal of Speech and
        Hearing Research 37, 1994.
    """
    check_waveform(waveform)
    rate_hz = spec.source_rate_hz
    waveform = waveform[: round(spec.window_s * rate_hz)].astype(np.float32)
    waveform = waveform - np.float32(waveform.mean(dtype=np.float64))
    hop = rate_hz // _FRAMES_PER_S
    waveform = np.pad(waveform, (0, max(hop - len(waveform), 0)))
    level_db = _level_db(waveform, hop)
    threshold_db = _speech_threshold_db(level_db)
    speech = _speech(level_db > threshold_db)
    active = speech & (level_db > threshold_db)
    centres = hop // 2 + hop * np.arange(len(level_db))
    track = track_pitch(waveform, centres, active, rate_hz)
    syllables = _count_syllables(np.maximum(level_db, threshold_db), speech & track.voiced)
    features = [
        *_rates(syllables, speech),
        *_pauses(speech),
        *_pitch_statistics(track),
        float(track.voiced.sum() / max(speech.sum(), 1)),
        *_level_statistics(level_db[active]),
        *_perturbation(track, waveform, rate_hz),
        _harmonics_to_noise_db(track),
        *_spectral_balance(track, rate_hz),
        _cepstral_peak_db(track, rate_hz),
    ]
    return np.array(features, dtype=np.float32)


def _level_db(waveform: Float32, hop: int) -> Float64:
    """Return the smoothed level of every frame, float64 (frame,)."""
    frames = len(waveform) // hop
    blocks = waveform[: frames * hop].reshape(frames, hop)
    power = np.einsum("fs,fs->f", blocks, blocks, dtype=np.float64) / hop
    window = np.hanning(_LEVEL_FRAMES + 2)[1:-1]
    half = _LEVEL_FRAMES // 2
    smooth = np.convolve(np.pad(power, half, mode="edge"), window / window.sum(), mode="valid")
    return np.asarray(10.0 * np.log10(np.maximum(smooth, _LEAST_POWER)))


def _speech_threshold_db(level_db: Float64) -> float:
    """Return the level above which audio is speech."""
    quiet_db, loud_db = np.quantile(level_db, (0.05, 0.99))
    # Steady noise raises the threshold. In speech without pauses, the dips are too short to become
    # pauses. A steady tone stays above the threshold.
    above_noise_db = min(quiet_db + _ABOVE_NOISE_DB, loud_db - _LEAST_RANGE_DB)
    return float(max(loud_db - _SPEECH_RANGE_DB, above_noise_db, 10.0 * np.log10(_LEAST_POWER)))


def _speech(loud: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Close gaps shorter than a pause, then drop segments shorter than a phrase."""
    speech = loud.copy()
    for start, end in runs(~loud):
        inside = start > 0 and end < len(loud)
        if inside and end - start < _LEAST_PAUSE_S * _FRAMES_PER_S:
            speech[start:end] = True
    for start, end in runs(speech):
        if end - start < _LEAST_PHRASE_S * _FRAMES_PER_S:
            speech[start:end] = False
    return speech


def _count_syllables(level_db: Float64, counted: npt.NDArray[np.bool_]) -> int:
    """Count voiced peaks of the level that are high enough above the dips on both sides."""
    syllables = 0
    peak, dip, rising = level_db[0], level_db[0], True
    is_voiced = counted[0]
    levels = [*level_db.tolist(), -np.inf]  # The end is a dip.
    for level, voiced in zip(levels, [*counted.tolist(), False], strict=True):
        if rising:
            if level > peak:
                peak, is_voiced = level, voiced
            elif level <= peak - _SYLLABLE_DIP_DB:
                syllables += is_voiced
                dip, rising = level, False
        elif level < dip:
            dip = level
        elif level >= dip + _SYLLABLE_DIP_DB:
            peak, is_voiced, rising = level, voiced, True
    return int(syllables)


def _rates(syllables: int, speech: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return syllables per second of the clip and of speech, and the share of speech."""
    share = float(speech.mean())
    rate = syllables * _FRAMES_PER_S / len(speech)
    return rate, rate / share if share else 0.0, share


def _pauses(speech: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return pauses per minute, their mean length and its deviation, and the mean phrase."""
    phrases = np.array(runs(speech), dtype=np.float64).reshape(-1, 2) / _FRAMES_PER_S
    if not len(phrases):
        return 0.0, 0.0, 0.0, 0.0
    pauses_s = phrases[1:, 0] - phrases[:-1, 1]
    phrase_s = float((phrases[:, 1] - phrases[:, 0]).mean())
    if not len(pauses_s):
        return 0.0, 0.0, 0.0, phrase_s
    per_minute = 60.0 * len(pauses_s) * _FRAMES_PER_S / len(speech)
    return per_minute, float(pauses_s.mean()), float(pauses_s.std()), phrase_s


def _pitch_statistics(track: PitchTrack) -> tuple[float, float, float, float]:
    """Return median, two quantile ranges and mean absolute slope, in semitones."""
    if not track.voiced.any():
        return 0.0, 0.0, 0.0, 0.0
    semitone = 12.0 * np.log2(track.f0_hz / A0_HZ)
    low, q1, median, q3, high = np.quantile(semitone[track.voiced], (0.05, 0.25, 0.5, 0.75, 0.95))
    steps = np.abs(np.diff(semitone))
    # The difference to an unvoiced frame is NaN.
    slope = _FRAMES_PER_S * steps[np.isfinite(steps)].mean()
    return float(median), float(q3 - q1), float(high - low), float(slope)


def _level_statistics(level_db: Float64) -> tuple[float, float, float]:
    """Return mean, deviation and range of the level of speech."""
    if not level_db.size:
        return float(10.0 * np.log10(_LEAST_POWER)), 0.0, 0.0
    low, high = np.quantile(level_db, (0.05, 0.95))
    return float(level_db.mean()), float(level_db.std()), float(high - low)


def _perturbation(track: PitchTrack, waveform: Float32, rate_hz: int) -> tuple[float, float]:
    """Return jitter and shimmer from three successive cycles per voiced frame."""
    times, heights = cycle_peaks(track, waveform, rate_hz)
    periods = np.maximum(np.diff(times, axis=0), 1.0)
    height_steps_db = np.abs(np.diff(20.0 * np.log10(np.maximum(heights, _TINY)), axis=0))
    valid = np.maximum(*periods) <= _PERIOD_FACTOR * np.minimum(*periods)
    valid &= (height_steps_db <= 20.0 * np.log10(_HEIGHT_FACTOR)).all(axis=0)
    if not valid.any():
        return 0.0, 0.0
    periods = periods[:, valid]
    jitter = np.abs(periods[1] - periods[0]).mean() / periods.mean()
    return float(jitter), float(height_steps_db[:, valid].mean())


def _harmonics_to_noise_db(track: PitchTrack) -> float:
    """Return periodic over aperiodic power, Boersma 1993, equation 4."""
    periodicity = np.minimum(track.periodicity[track.voiced], _HIGHEST_PERIODICITY)
    if not periodicity.size:
        return 0.0
    return float((10.0 * np.log10(periodicity / (1.0 - periodicity))).mean())


def _spectral_balance(track: PitchTrack, rate_hz: int) -> tuple[float, float]:
    """Return alpha ratio and tilt of the mean spectrum of the voiced frames."""
    if not track.voiced.any():
        return 0.0, 0.0
    mean_power = track.power[track.voiced].mean(axis=0, dtype=np.float64)
    frequency = np.linspace(0.0, rate_hz / 2, len(mean_power))
    low, middle, high = _ALPHA_BANDS_HZ
    below = mean_power[(frequency >= low) & (frequency < middle)].sum()
    above = mean_power[(frequency >= middle) & (frequency < high)].sum()
    inside = (frequency >= _TILT_FROM_HZ) & (frequency < high)
    octave = np.log2(frequency[inside])
    # Higher octaves have more bins; this weights all octaves equally.
    weight = 1.0 / frequency[inside]
    weight /= weight.sum()
    level_db = 10.0 * np.log10(np.maximum(mean_power[inside], _TINY))
    octave -= weight @ octave
    tilt = (weight * octave) @ level_db / ((weight * octave) @ octave)
    return float(10.0 * np.log10(max(below, _TINY) / max(above, _TINY))), float(tilt)


def _cepstral_peak_db(track: PitchTrack, rate_hz: int) -> float:
    """Return the mean height of the cepstral peak above a line fitted to the cepstrum."""
    power = track.power[track.voiced]
    if not len(power):
        return 0.0
    n_fft = 2 * (power.shape[1] - 1)
    first, last = round(rate_hz * _QUEFRENCY_FROM_S), int(rate_hz / LOWEST_HZ) + 1
    pitch_range = slice(int(rate_hz / HIGHEST_HZ) - first, None)
    quefrency = np.arange(first, last, dtype=np.float32)
    quefrency -= quefrency.mean()
    prominence = []
    for start in range(0, len(power), _FRAMES_AT_ONCE):
        log_power = 10.0 * np.log10(np.maximum(power[start : start + _FRAMES_AT_ONCE], _TINY))
        cepstrum = np.abs(np.fft.irfft(log_power, n_fft)[:, first:last])
        cepstrum_db = 20.0 * np.log10(np.maximum(cepstrum, 1e-6))
        slope = (cepstrum_db @ quefrency) / (quefrency @ quefrency)
        line = cepstrum_db.mean(axis=1, keepdims=True) + slope[:, np.newaxis] * quefrency
        prominence.append((cepstrum_db - line)[:, pitch_range].max(axis=1))
    return float(np.concatenate(prominence).mean(dtype=np.float64))
