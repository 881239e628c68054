"""From decoded sound to the waveform that descriptors are measured on.

The published features of First Impressions V2 were measured on 16-bit WAV files at 44,100 Hz, whose
rate the resampy library then halved. Its filter passes less near the top than others do, which the
higher cepstral coefficients hear: another good resampler moves them by up to 0.1 standard
deviations of the corpus. So the same filter is applied here.
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

# Filter "kaiser_best" of resampy before version 0.4: a sinc that is cut off at this share of the
# new band, under a Kaiser window of this shape that ends at this zero crossing.
_CUTOFF: Final = 0.9475937167399596
_KAISER_BETA: Final = 14.769656459379492
_ZERO_CROSSINGS: Final = 64

_STEPS_16_BIT: Final = 32_768.0
_BLOCK: Final = 64  # Output samples per row of the matrix product: the fastest of 32 to 256.
_LARGEST: Final = (
    64.0  # Lossy codecs overshoot full scale a little; unscaled integers are far above.
)


def check_waveform(waveform: npt.NDArray[Any]) -> None:
    """Refuse what cannot be a waveform.

    Args:
        waveform: Anything.

    Raises:
        UsageError: It is no float32 or float64 (sample,), is empty, or has samples that are not
            finite or far beyond full scale.
    """
    if waveform.dtype not in (np.float32, np.float64) or waveform.ndim != 1:
        raise UsageError(
            f"The waveform is {waveform.dtype} of shape {waveform.shape}; "
            "float32 of shape (sample,), with full scale at 1, is needed."
        )
    if not waveform.size:
        raise UsageError("The waveform has no samples; at least one is needed.")
    peak = float(np.abs(waveform).max())
    if not np.isfinite(peak):
        raise UsageError("The waveform has samples that are infinite or not a number.")
    if peak > _LARGEST:
        raise UsageError(
            f"The waveform reaches {peak:.6g}; full scale is 1.",
            hint="Divide integer samples by their full scale, for example 32768.",
        )


def to_analysis_rate(waveform: npt.NDArray[Any], spec: DescriptorSpec) -> Float32:
    """Bring sound as it was read to what the descriptors are measured on.

    Samples beyond full scale are clipped, all are rounded to 16 bits, and the rate is divided.
    Rounding matters in silence, which decoders leave with traces of noise.

    Args:
        waveform: float32 or float64 (sample,), mono at ``spec.source_rate_hz``, full scale 1.
        spec: Both rates.

    Returns:
        float32 (sample,) at ``spec.sample_rate_hz``.

    Raises:
        UsageError: The waveform is empty, not finite, or not on the scale.

    Source:
        Smith, Digital audio resampling, Center for Computer Research in Music and Acoustics,
        Stanford University.
    """
    check_waveform(waveform)
    # In place, in a tenth of the time; to divide by a power of two is to multiply.
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
    stretches = sliding_window_view(padded, len(filters))[:: ratio * _BLOCK][:blocks]
    return (stretches @ filters).ravel()[:length]


@functools.cache
def _decimation_filters(ratio: int) -> Float32:
    """Return the low-pass filter once for each output sample of a block, (sample, block sample)."""
    reach = ratio * _ZERO_CROSSINGS
    crossing = np.arange(-reach, reach + 1) / ratio
    lowpass = _CUTOFF * np.sinc(_CUTOFF * crossing) * np.kaiser(2 * reach + 1, _KAISER_BETA) / ratio
    filters = np.zeros((len(lowpass) + ratio * (_BLOCK - 1), _BLOCK), dtype=np.float32)
    for column in range(_BLOCK):
        filters[ratio * column :, column][: len(lowpass)] = lowpass
    filters.flags.writeable = False
    return filters
