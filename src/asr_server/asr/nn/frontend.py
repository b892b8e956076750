"""Compute the model's input features, batched: fbank, low frame rate, mean and variance.

The module keeps no state: the caller passes the samples before the chunk that its features see. The
arithmetic is Kaldi's (as in FunASR's `WavFrontendOnline`), without dither, so that the same audio
always has the same features.

Letters of shapes: B rows, S samples, F fbank frames (10 ms), T LFR frames (60 ms).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from asr_server.audio.units import SAMPLE_RATE, Samples

FRAME: Samples = 400
"""Samples of one fbank frame: 25 ms."""
SHIFT: Samples = 160
"""Samples between fbank frames: 10 ms."""
FFT = 512
MELS = 80
LFR_M = 7
"""fbank frames stacked into one LFR frame."""
LFR_N = 6
"""fbank frames between LFR frames."""
LFR_CENTRE = LFR_M // 2
LFR_SHIFT: Samples = LFR_N * SHIFT
"""Samples between LFR frames: 60 ms."""
CONTEXT: Samples = LFR_CENTRE * SHIFT
"""Samples before a chunk that belong to its first LFR frame."""
FEATURES = MELS * LFR_M
LOG_FLOOR = torch.finfo(torch.float32).eps
"""Kaldi's floor under the logarithm: the features of digital silence."""


@dataclass(frozen=True, slots=True)
class Features:
    """Hold the features of a batch and the number of frames of each row."""

    frames: Tensor  # (B, T, 560) float32; zeros past `lengths`
    lengths: Tensor  # (B,) int64


class Frontend(torch.nn.Module):
    """Map samples to features. `shift` and `scale` (560,) normalise mean and variance."""

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self._window: Tensor
        self._mel: Tensor
        self._cmvn_shift: Tensor
        self._cmvn_scale: Tensor
        self.register_buffer("_window", torch.hamming_window(FRAME, periodic=False))
        self.register_buffer("_mel", _mel_banks())  # (257, 80)
        self.register_buffer("_cmvn_shift", shift)  # (560,)
        self.register_buffer("_cmvn_scale", scale)  # (560,)

    def forward(self, samples: Tensor, counts: Tensor, first: Tensor, frames: int) -> Features:
        """Return the features of one chunk per row, padded to `frames` LFR frames.

        The first `counts` (B,) of a row's `samples` (B, S) exist; S is at least one fbank frame.
        An LFR frame exists if its centre fbank frame does. Missing frames to the right of it repeat
        the last fbank frame, those before a sentence's begin (`first`, (B,)) the first one.
        """
        device = samples.device
        fbank = self._fbank(samples)  # (B, F, 80)
        fbanks = (torch.div(counts - FRAME, SHIFT, rounding_mode="floor") + 1).clamp(min=0)  # (B,)
        # Where the first LFR frame begins among the fbank frames; before a sentence there are none.
        begin = -LFR_CENTRE * first.long()  # (B,)
        lengths = torch.div(fbanks - LFR_CENTRE - begin + LFR_N - 1, LFR_N, rounding_mode="floor")
        lengths = lengths.clamp(0, frames)
        index = (
            begin[:, None, None]
            + LFR_N * torch.arange(frames, device=device)[None, :, None]
            + torch.arange(LFR_M, device=device)[None, None, :]
        )  # (B, T, 7)
        last = (fbanks - 1).clamp(min=0)[:, None, None]
        rows = torch.arange(len(samples), device=device)[:, None, None]
        stacked = fbank[rows, index.clamp(min=0).minimum(last)].flatten(2)  # (B, T, 560)
        normalised = (stacked + self._cmvn_shift) * self._cmvn_scale
        frame_mask = torch.arange(frames, device=device)[None, :] < lengths[:, None]  # (B, T)
        return Features(normalised * frame_mask[:, :, None], lengths)

    def _fbank(self, samples: Tensor) -> Tensor:
        """Return Kaldi's log mel energies (B, F, 80) of `samples` (B, S) in [-1, 1]."""
        framed = (samples * 32_768.0).unfold(1, FRAME, SHIFT)  # (B, F, 400)
        framed = framed - framed.mean(dim=2, keepdim=True)
        previous = torch.cat((framed[:, :, :1], framed[:, :, :-1]), dim=2)
        emphasised = (framed - 0.97 * previous) * self._window
        spectrum = torch.fft.rfft(emphasised, n=FFT)  # (B, F, 257)
        # `abs` avoids overflow and takes a root: four times the time.
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.matmul(power, self._mel).clamp(min=LOG_FLOOR).log()


def _mel(hertz: Tensor | float) -> Tensor:
    return 1127.0 * torch.log1p(torch.as_tensor(hertz, dtype=torch.float64) / 700.0)


def _mel_banks() -> Tensor:
    """Return Kaldi's triangular filters (257, 80) from 20 Hz to the Nyquist frequency."""
    low, high = _mel(20.0), _mel(SAMPLE_RATE / 2)
    step = (high - low) / (MELS + 1)
    left = low + torch.arange(MELS, dtype=torch.float64) * step  # (80,)
    bins = _mel(torch.arange(FFT // 2, dtype=torch.float64) * SAMPLE_RATE / FFT)[:, None]
    rising = (bins - left) / step
    falling = (left + 2 * step - bins) / step
    banks = torch.minimum(rising, falling).clamp(min=0.0)  # (256, 80)
    return F.pad(banks, (0, 0, 0, 1)).to(torch.float32)  # the Nyquist bin belongs to no filter
