"""Define Silero VAD for many streams at once: the probability of speech in each 32 ms window.

The network is Silero's own (its weights come from the `silero-vad` package), written out because
the published graph takes one window of one stream. Here the convolutions run over all windows of
all streams together, and only the recurrent cell goes window by window.

Letters of shapes: B streams, T windows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_server.audio.endpointer import WINDOW

CONTEXT = 64
"""Samples before a window that the network also takes."""
HIDDEN = 128
STATE = CONTEXT + 2 * HIDDEN
"""Numbers of a stream's state: the last samples, the recurrent cell's output and the cell."""
_FFT = 256
_HOP = 128


class SileroVad(nn.Module):
    """Map windows at 16 kHz to speech probabilities; the caller keeps every stream's state.

    Written so that TorchScript can compile it (`tracing.scripted`).
    """

    def __init__(self) -> None:
        super().__init__()
        # TorchScript reads no globals.
        self.window = WINDOW
        self.state = [CONTEXT, HIDDEN, HIDDEN]
        self.frame, self.hop = _FFT, _HOP
        # Convolutions are products of matrices here: oneDNN would compile convolutions for every
        # number of windows, which would evict the decode steps' products from its cache
        # (docs/adr/0032-memory.md).
        self.stft_conv = nn.Linear(_FFT, _FFT + 2, bias=False)
        self.conv1 = nn.Linear(3 * (_FFT // 2 + 1), 128)
        self.conv2 = nn.Linear(3 * 128, 64)
        self.conv3 = nn.Linear(3 * 64, 64)
        self.conv4 = nn.Linear(3 * 64, HIDDEN)
        self.lstm_cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.final_conv = nn.Linear(HIDDEN, 1)

    def forward(self, samples: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities (B, T) of windows `samples` (B, T * 512), and the new state.

        The state is (B, STATE). `lengths` (B,) is the number of windows of each row, past which its
        state does not change.
        """
        context, hidden, cell = torch.split(state, self.state, dim=1)
        before = context.shape[1]
        samples = torch.cat((context, samples), dim=1)  # (B, 64 + T * 512)
        windows = samples.unfold(1, before + self.window, self.window)  # (B, T, 576)
        rows, count, _ = windows.shape
        inputs = F.linear(
            self._encode(windows.reshape(rows * count, -1)),
            self.lstm_cell.weight_ih,
            self.lstm_cell.bias_ih,
        ).view(rows, count, -1)  # (B, T, 4 * 128)
        hiddens = []
        for window in range(count):
            new_hidden, new_cell = self._recur(inputs[:, window], hidden, cell)
            exists = (window < lengths)[:, None]
            hidden = torch.where(exists, new_hidden, hidden)
            cell = torch.where(exists, new_cell, cell)
            hiddens.append(hidden)
        stacked = torch.stack(hiddens, dim=1).relu()  # (B, T, 128)
        logits = self.final_conv(stacked)
        last = lengths[:, None] * self.window + torch.arange(before)[None, :]  # (B, 64)
        state = torch.cat((samples.gather(1, last), hidden, cell), dim=1)
        return logits.squeeze(2).sigmoid(), state

    def _encode(self, windows: Tensor) -> Tensor:
        """Map samples (N, 576) to (N, 128)."""
        padded = F.pad(windows, (0, self.state[0]), mode="reflect")
        frames = padded.unfold(1, self.frame, self.hop).contiguous()
        spectrum = self.stft_conv(frames)  # (N, 4, 258)
        real, imaginary = spectrum.chunk(2, dim=2)
        x = (real.square() + imaginary.square()).sqrt()
        x = self.conv1(_neighbours(x, 1)).relu()  # (N, 4, 128)
        x = self.conv2(_neighbours(x, 2)).relu()  # (N, 2, 64)
        x = self.conv3(_neighbours(x, 2)).relu()  # (N, 1, 64)
        hidden: Tensor = self.conv4(_neighbours(x, 1)).relu().squeeze(1)
        return hidden

    def _recur(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = inputs + F.linear(hidden, self.lstm_cell.weight_hh, self.lstm_cell.bias_hh)
        enter, forget, update, leave = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * update.tanh()
        return leave.sigmoid() * cell.tanh(), cell


def _neighbours(x: Tensor, stride: int) -> Tensor:
    """Return every `stride`-th place of (N, W, C) with its neighbours: (N, W / stride, 3 * C)."""
    channels = x.shape[2]
    padded = F.pad(x, (0, 0, 1, 1)).flatten(1)
    return padded.unfold(1, 3 * channels, stride * channels).contiguous()
