"""The base class of audio inputs, and the simplest one: the waveform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmperson.errors import UsageError
from mmperson.preprocessing.audio.waveform import check_waveform
from mmperson.preprocessing.blas import limit_blas_threads
from mmperson.preprocessing.modality import ModalitySpec, Prepared

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip

_UNRELIABLE_BELOW_S: Final = 1.0


class SoundSpec(ModalitySpec):
    """An audio input.

    Attributes:
        source_rate_hz: Sample rate of the decoded audio.
        window_s: Seconds from the start that are read.
        min_duration_s: Shorter audio counts as absent.
        silence_peak: Audio whose peak is at most this, with full scale 1, counts as absent. The
            default, -80 dB, is three steps of 16 bits and below the peak of every published clip.
    """

    source_rate_hz: int = Field(16_000, ge=8_000, le=192_000)
    window_s: float = Field(10.0, gt=0, le=600)
    min_duration_s: float = Field(0.1, gt=0, le=600)
    silence_peak: float = Field(1e-4, ge=0, lt=1)

    @property
    def samples(self) -> int:
        """Samples of the window at ``source_rate_hz``."""
        return round(self.window_s * self.source_rate_hz)

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> npt.NDArray[np.float32]:
        """Compute the input from a waveform that is neither too short nor silent.

        Args:
            waveform: float32 (sample,), mono at ``source_rate_hz``, full scale 1.
            mono: Whether the recording has one channel.

        Returns:
            float32, of ``shape`` or shorter.
        """
        raise NotImplementedError

    def read_options(self) -> dict[str, Any]:
        """Return the audio window."""
        from mmperson.media.audio import AudioWindow  # Here, because it loads FFmpeg.

        return {"audio": AudioWindow(self.source_rate_hz, duration_s=self.window_s)}

    def preload(self) -> None:
        """Find the BLAS libraries."""
        limit_blas_threads()

    def prepare(
        self, clip: Clip | None, transcript: str | None, tokenizer: Tokenizer | None
    ) -> Prepared:
        """Compute the input, unless the audio is missing, too short or silent.

        Raises:
            UsageError: The audio has another sample rate, or is not a waveform.
        """
        if clip is None or clip.waveform is None:
            return Prepared(None, "The clip has no usable audio.")
        if clip.sample_rate_hz != self.source_rate_hz:
            raise UsageError(
                f"The clip was read at {clip.sample_rate_hz} Hz; the network needs "
                f"{self.source_rate_hz} Hz.",
                hint="Read it with AudioWindow(spec.source_rate_hz, duration_s=spec.window_s).",
            )
        waveform = clip.waveform[: self.samples]
        duration_s = len(waveform) / self.source_rate_hz
        reason = ""
        if duration_s < self.min_duration_s:
            reason = f"The audio is only {duration_s:.3f} s long."
        else:
            check_waveform(waveform)
            if np.abs(waveform).max() <= self.silence_peak:
                reason = f"The audio is silent in its first {duration_s:.1f} s."
        if reason:
            return Prepared(None, reason, (f"{reason[:-1]} and is not used.",))
        warnings: tuple[str, ...] = ()
        if duration_s < min(_UNRELIABLE_BELOW_S, self.window_s):
            warnings = (f"The audio is only {duration_s:.1f} s long and may be unreliable.",)
        mono = clip.info.audio is not None and clip.info.audio.channels == 1
        limit_blas_threads()
        return Prepared(self.measure(waveform, mono=mono), "", warnings)


class WaveformSpec(SoundSpec):
    """The waveform."""

    may_be_shorter: ClassVar[bool] = True
    augmentation: ClassVar[str | None] = "waveform"
    description: ClassVar[str] = "waveform"

    kind: Literal["waveform"] = "waveform"

    @property
    def shape(self) -> tuple[int, ...]:
        """(sample,)."""
        return (self.samples,)

    def measure(self, waveform: npt.NDArray[Any], *, mono: bool) -> npt.NDArray[np.float32]:
        """Return the waveform, float32 (sample,)."""
        return waveform.astype(np.float32)
