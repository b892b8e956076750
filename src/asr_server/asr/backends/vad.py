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

from asr_server.audio.endpoint import WINDOW

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
        self.stft_conv = nn.Conv1d(1, _FFT + 2, _FFT, stride=_HOP, bias=False)
        self.conv1 = nn.Conv1d(_FFT // 2 + 1, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, HIDDEN, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.final_conv = nn.Conv1d(HIDDEN, 1, 1)

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
        vad.load_state_dict({ours: weights[f"_model.{theirs}"] for ours, theirs in _NAMES.items()})
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
        logits = F.linear(stacked, self.final_conv.weight.squeeze(2), self.final_conv.bias)
        last = lengths[:, None] * self.window + torch.arange(seen)[None, :]  # (B, 64)
        state = torch.cat((samples.gather(1, last), hidden, cell), dim=1)
        return logits.squeeze(2).sigmoid(), state

    def _encode(self, windows: Tensor) -> Tensor:
        """(N, 576) samples to (N, 128)."""
        padded = F.pad(windows, (0, self.state[0]), mode="reflect")
        spectrum = self.stft_conv(padded[:, None])  # (N, 258, 4)
        real, imaginary = spectrum.chunk(2, dim=1)
        x = (real.square() + imaginary.square()).sqrt()
        x = self.conv1(x).relu()
        x = self.conv2(x).relu()
        x = self.conv3(x).relu()
        hidden: Tensor = self.conv4(x).relu().squeeze(2)
        return hidden

    def _recur(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = inputs + F.linear(hidden, self.lstm_cell.weight_hh, self.lstm_cell.bias_hh)
        enter, forget, update, leave = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * update.tanh()
        return leave.sigmoid() * cell.tanh(), cell
