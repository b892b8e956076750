"""Silero VAD for many streams at once: how probable is speech in each 32 ms window.

The network is Silero's own (its weights ride in the `silero-vad` package), spelled out here because
the published graph takes one window of one stream: the convolutions run over all windows of all
streams together, only the recurrent cell goes window by window.

Letters of shapes: B streams, T windows.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_server.audio.endpointer import WINDOW

CONTEXT = 64
"""Samples before a window that the network sees."""
HIDDEN = 128
STATE = CONTEXT + 2 * HIDDEN
"""Of a stream: the samples before its next window, the recurrent cell's output and the cell."""
_FFT = 256
_HOP = 128
_NAMES = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{
        f"conv{n + 1}.{kind}": f"encoder.{n}.reparam_conv.{kind}"
        for n in range(4)
        for kind in ("weight", "bias")
    },
    **{
        f"lstm_cell.{kind}": f"decoder.rnn.{kind}"
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "final_conv.weight": "decoder.decoder.2.weight",
    "final_conv.bias": "decoder.decoder.2.bias",
}
"""Our parameters' names in the package's archive."""


class SileroVad(nn.Module):
    """Speech probabilities at 16 kHz; the caller keeps every stream's state.

    TorchScript reads it, too (`tracing.scripted`).
    """

    def __init__(self) -> None:
        super().__init__()
        # TorchScript knows no globals.
        self.window = WINDOW
        self.state = [CONTEXT, HIDDEN, HIDDEN]
        self.frame, self.hop = _FFT, _HOP
        # Convolutions are products of matrices here: oneDNN would compile them for every number of
        # windows and keep that, in the place of what the steps need (docs/adr/0032-memory.md).
        self.stft_conv = nn.Linear(_FFT, _FFT + 2, bias=False)
        self.conv1 = nn.Linear(3 * (_FFT // 2 + 1), 128)
        self.conv2 = nn.Linear(3 * 128, 64)
        self.conv3 = nn.Linear(3 * 64, 64)
        self.conv4 = nn.Linear(3 * 64, HIDDEN)
        self.lstm_cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.final_conv = nn.Linear(HIDDEN, 1)

    @classmethod
    def load(cls) -> "SileroVad":
        """The weights that the `silero-vad` package carries."""
        # Found without importing it: the package's import tells torch to compute on one thread.
        package = find_spec("silero_vad")
        assert package is not None
        assert package.origin is not None
        archive = Path(package.origin).parent / "data" / "silero_vad.jit"
        with warnings.catch_warnings():
            # torch.jit is deprecated, but these are the only current weights torch can read; the
            # package's safetensors file holds an older version's.
            warnings.simplefilter("ignore", DeprecationWarning)
            archived = torch.jit.load(str(archive), map_location="cpu")  # type: ignore[no-untyped-call]
            weights = archived.state_dict()
        vad = cls()
        vad.load_state_dict(
            {ours: _as_matrix(weights[f"_model.{theirs}"]) for ours, theirs in _NAMES.items()}
        )
        return vad.eval().requires_grad_(False)

    def forward(self, samples: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, T) of windows `samples` (B, T * 512), and the state (B, STATE) after.

        `lengths` (B,) says how many windows of each row are real. The state stands still past them.
        """
        context, hidden, cell = torch.split(state, self.state, dim=1)
        seen = context.shape[1]
        samples = torch.cat((context, samples), dim=1)  # (B, 64 + T * 512)
        windows = samples.unfold(1, seen + self.window, self.window)  # (B, T, 576)
        rows, count, _ = windows.shape
        inputs = F.linear(
            self._encode(windows.reshape(rows * count, -1)),
            self.lstm_cell.weight_ih,
            self.lstm_cell.bias_ih,
        ).view(rows, count, -1)  # (B, T, 4 * 128)
        hiddens = []
        for window in range(count):
            new_hidden, new_cell = self._recur(inputs[:, window], hidden, cell)
            real = (window < lengths)[:, None]
            hidden = torch.where(real, new_hidden, hidden)
            cell = torch.where(real, new_cell, cell)
            hiddens.append(hidden)
        stacked = torch.stack(hiddens, dim=1).relu()  # (B, T, 128)
        logits = self.final_conv(stacked)
        last = lengths[:, None] * self.window + torch.arange(seen)[None, :]  # (B, 64)
        state = torch.cat((samples.gather(1, last), hidden, cell), dim=1)
        return logits.squeeze(2).sigmoid(), state

    def _encode(self, windows: Tensor) -> Tensor:
        """(N, 576) samples to (N, 128)."""
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
    """Places of (N, W, C), all or every other, with the two beside it: (N, W / stride, 3 * C)."""
    channels = x.shape[2]
    padded = F.pad(x, (0, 0, 1, 1)).flatten(1)
    return padded.unfold(1, 3 * channels, stride * channels).contiguous()


def _as_matrix(weight: Tensor) -> Tensor:
    """A convolution's (out, in, K) as those of a product (out, K * in); others as they are."""
    return weight.transpose(1, 2).flatten(1) if weight.ndim == 3 else weight
