"""Check waveforms, and resample them for the acoustic descriptors.

The published features of First Impressions V2 were computed from 16-bit WAV files at 44,100 Hz,
decimated by two with resampy. Near the cutoff, its filter passes less than others: another good
resampler moves the higher MFCCs by up to 0.1 standard deviations of the corpus. Therefore, the same
filter is used here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from mmperson.errors import UsageError
from mmperson.preprocessing.audio.spectrum import Float32

if TYPE_CHECKING:
    from mmperson.preprocessing.audio.descriptors import DescriptorSpec

# Filter "kaiser_best" of resampy before version 0.4: a sinc with this cutoff, as a share of the new
# band, under a Kaiser window with this beta and this number of zero crossings.
_CUTOFF: Final = 0.9475937167399596
_KAISER_BETA: Final = 14.769656459379492
_ZERO_CROSSINGS: Final = 64

_STEPS_16_BIT: Final = 32_768.0
_BLOCK: Final = 64  # Output samples per row of the matrix product; the fastest of 32 to 256.
_MAX_PEAK: Final = 64.0  # Lossy codecs overshoot full scale a little, unscaled integers by far.


def check_waveform(waveform: npt.NDArray[Any]) -> None:
    """Raise unless an array is a valid waveform.

    Args:
        waveform: Any array.

    Raises:
        UsageError: It is not float32 or float64 (sample,), is empty, or has samples that are not
            finite or far beyond full scale.
    """
    if waveform.dtype not in (np.float32, np.float64) or waveform.ndim != 1:
        raise UsageError(
            f"The waveform is {waveform.dtype} of shape {waveform.shape}; "
            "it must be float32 of shape (sample,), with full scale 1."
        )
    if not waveform.size:
        raise UsageError("The waveform has no samples.")
    peak = float(np.abs(waveform).max())
    if not np.isfinite(peak):
        raise UsageError("The waveform has samples that are infinite or not a number.")
    if peak > _MAX_PEAK:
        raise UsageError(
            f"The waveform reaches {peak:.6g}; full scale is 1.",
            hint="Divide integer samples by their full scale, for example 32768.",
        )


def to_analysis_rate(waveform: npt.NDArray[Any], spec: DescriptorSpec) -> Float32:
    """Clip to full scale, round to 16 bits and decimate, as for the published descriptors.

    Rounding matters in silence, where decoders leave traces of noise.

    Args:
        waveform: float32 or float64 (sample,), mono at ``spec.source_rate_hz``, full scale 1.
        spec: Both sample rates.

    Returns:
        float32 (sample,) at ``spec.sample_rate_hz``.

    Raises:
        UsageError: The waveform is empty, not finite, or far beyond full scale.

    Source:
        Smith, Digital audio resampling, Center for Computer Research in Music and Acoustics,
        Stanford University.
    """
    check_waveform(waveform)
    # In place: ten times as fast.
    waveform = waveform.astype(np.float32) * np.float32(_STEPS_16_BIT)
    np.rint(waveform, out=waveform)
    np.clip(waveform, -_STEPS_16_BIT, _STEPS_16_BIT - 1, out=waveform)
    waveform *= np.float32(1 / _STEPS_16_BIT)
    ratio = spec.source_rate_hz // spec.sample_rate_hz
    if ratio == 1:
        return waveform
    filters = _decimation_filters(ratio)
    taps = len(filters) - ratio * (_BLOCK - 1)
    length = -(-len(waveform) // ratio)
    blocks = -(-length // _BLOCK)
    padded = np.zeros(ratio * _BLOCK * blocks + taps, dtype=np.float32)
    padded[taps // 2 :][: len(waveform)] = waveform
    rows = sliding_window_view(padded, len(filters))[:: ratio * _BLOCK][:blocks]
    return (rows @ filters).ravel()[:length]


@functools.cache
def _decimation_filters(ratio: int) -> Float32:
    """Return the low-pass filter, shifted for each output sample: (sample, output sample)."""
    reach = ratio * _ZERO_CROSSINGS
    crossing = np.arange(-reach, reach + 1) / ratio
    lowpass = _CUTOFF * np.sinc(_CUTOFF * crossing) * np.kaiser(2 * reach + 1, _KAISER_BETA) / ratio
    filters = np.zeros((len(lowpass) + ratio * (_BLOCK - 1), _BLOCK), dtype=np.float32)
    for column in range(_BLOCK):
        filters[ratio * column :, column][: len(lowpass)] = lowpass
    filters.flags.writeable = False
    return filters
