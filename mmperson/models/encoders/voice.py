"""A small speaker network: a voice embedding every .8 s.

Source: Wan et al. 2018, Generalized end-to-end loss for speaker verification, section 3; sizes and
weights are those of the package Resemblyzer 0.1.4. A voice carries age, gender and identity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmperson.models.layers.masked import mostly_real
from mmperson.models.layers.recurrent import run_lstm
from mmperson.models.tokens import Tokens

_RATE_HZ = 16_000
_WINDOW = 400  # Samples, 25 ms.
_HOP = 160  # Samples, 10 ms.
_BINS = _WINDOW // 2 + 1
_MELS = 40
_SPECTRA = 160  # Per state, 1.6 s; states overlap by half.
_TARGET_LEVEL = 10 ** (-30 / 20)  # Quieter sound is amplified to -30 dB full scale.
_MIN_LEVEL = 1e-5


class VoiceNetwork(nn.Module):
    """Mel spectra through a three-layer LSTM, whose last state is the voice embedding.

    Attributes:
        dim: Width of a state.
    """

    filters: Tensor
    waves: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks  # Here: slow to import.

        self.dim = 256
        self.lstm = nn.LSTM(_MELS, self.dim, num_layers=3, batch_first=True)
        self.linear = nn.Linear(self.dim, self.dim)
        angle = 2.0 * math.pi / _WINDOW * torch.arange(_BINS)[:, None] * torch.arange(_WINDOW)
        window = torch.hann_window(_WINDOW)
        # A Fourier transform as a convolution: ONNX Runtime has no FFT for every length.
        waves = torch.cat([angle.cos() * window, angle.sin() * window]).unsqueeze(1)
        filters = melscale_fbanks(
            _BINS, 0.0, _RATE_HZ / 2, _MELS, _RATE_HZ, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("waves", waves, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        """Encode a waveform.

        Args:
            x: float (batch, sample), 16 kHz.
            mask: float (batch, sample), 1 before the end of the sound.

        Returns:
            Unit vectors, float (batch, state, 256), and their mask: a state is real if more than
            half of its sound is.
        """
        spectra, real = self._spectra(x * mask, mask)
        # The last state exceeds the end by less than half of its length.
        half = _SPECTRA // 2
        count = max(math.ceil(spectra.shape[1] / half) - 1, 1)
        short = max((count + 1) * half - spectra.shape[1], 0)
        windows = functional.pad(spectra, [0, 0, 0, short]).unfold(1, _SPECTRA, half)
        real = mostly_real(functional.pad(real, [0, short]).unfold(1, _SPECTRA, half))
        states = run_lstm(self.lstm, windows.transpose(2, 3).flatten(0, 1))[:, -1]
        voice = functional.normalize(self.linear(states).relu(), dim=-1)
        return Tokens(voice.reshape(x.shape[0], -1, self.dim), real)

    def _spectra(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mel power of frames centred on every tenth millisecond, and their mask."""
        count = mask.sum(dim=1, keepdim=True).clamp_min(1.0)
        level = (x.square().sum(dim=1, keepdim=True) / count).sqrt().clamp_min(_MIN_LEVEL)
        # One frame more than librosa: it may overlap the sound, as it does in a padded window.
        padding = [_WINDOW // 2, _WINDOW // 2 + _HOP]
        x = functional.pad(x * (_TARGET_LEVEL / level).clamp_min(1.0), padding)
        parts = functional.conv1d(x.unsqueeze(1), self.waves, stride=_HOP)
        power = parts.square().unflatten(1, (2, _BINS)).sum(dim=1)
        real = functional.pad(mask, [0, _HOP + 1])[:, ::_HOP][:, : power.shape[2]]
        return power.transpose(1, 2) @ self.filters, real
