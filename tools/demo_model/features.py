"""Filterbank features exactly as the recogniser computes them."""

import kaldi_native_fbank as knf
import numpy as np
import torch
from torch import Tensor

MELS = 80
LFR_M, LFR_N = 7, 6
FRAME_MS = 60  # one model frame: LFR_N fbank frames of 10 ms


def fbank(pcm: np.ndarray, dither: float = 0.0) -> np.ndarray:
    """Log mel energies of 16-bit samples at 16 kHz, [frames, 80]."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = 16_000
    options.frame_opts.dither = dither
    options.frame_opts.window_type = "hamming"
    options.frame_opts.frame_shift_ms = 10.0
    options.frame_opts.frame_length_ms = 25.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = MELS
    options.energy_floor = 0.0
    options.mel_opts.debug_mel = False
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(16_000, pcm.astype(np.float32).tolist())
    computer.input_finished()
    count = computer.num_frames_ready
    if count == 0:
        return np.zeros((0, MELS), np.float32)
    return np.stack([computer.get_frame(index) for index in range(count)])


def stack_frames(features: np.ndarray) -> np.ndarray:
    """Low frame rate: every 6 frames, 7 joined, [frames, 80] -> [ceil(frames / 6), 560].

    The first frame is repeated three times in front and the last one at the end, as FunASR's
    frontend does.
    """
    count = -(-len(features) // LFR_N)
    padded = np.concatenate([np.repeat(features[:1], LFR_M // 2, 0), features])
    missing = (count - 1) * LFR_N + LFR_M - len(padded)
    if missing > 0:
        padded = np.concatenate([padded, np.repeat(padded[-1:], missing, 0)])
    rows = np.arange(count)[:, None] * LFR_N + np.arange(LFR_M)
    return padded[rows].reshape(count, LFR_M * MELS)


class Normaliser:
    """Mean and scale per mel bin, tiled over the seven joined frames, as am.mvn holds them."""

    def __init__(self, shift: np.ndarray, scale: np.ndarray) -> None:
        self.shift = shift.astype(np.float32)
        self.scale = scale.astype(np.float32)

    @classmethod
    def measured(cls, mean: np.ndarray, deviation: np.ndarray) -> "Normaliser":
        return cls(np.tile(-mean, LFR_M), np.tile(1 / deviation, LFR_M))

    def __call__(self, frames: Tensor) -> Tensor:
        return (frames + torch.from_numpy(self.shift)) * torch.from_numpy(self.scale)

    def kaldi_text(self) -> str:
        """The Kaldi nnet text that FunASR reads (`am.mvn`)."""
        size = len(self.shift)

        def row(values: np.ndarray) -> str:
            return "<LearnRateCoef> 0 [ " + " ".join(f"{value:.7g}" for value in values) + " ]"

        return (
            f"<Nnet> \n<Splice> {size} {size}\n[ 0 ]\n"
            f"<AddShift> {size} {size} \n{row(self.shift)}\n"
            f"<Rescale> {size} {size}\n{row(self.scale)}\n</Nnet> \n"
        )
