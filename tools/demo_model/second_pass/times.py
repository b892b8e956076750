"""Teach the second predictor when each character begins, on a grid of 20 ms."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .architecture import UPSAMPLED
from .frozen import Frozen

POSITION_MS = 60 / UPSAMPLED
FIRES_LATER = 1.5
"""FunASR takes a character's begin this many positions before the weights reach a whole number."""
BATCH = 16
LONGEST = 60
"""Frames: the LSTM is slow on long recordings, and learns as much from short ones."""


def weights(predictor: nn.Module, hidden: Tensor, lengths: Tensor) -> Tensor:
    """Return the weights [batch, 3 * frames] of the predictor's second head."""
    upsampled = predictor.upsample_cnn(hidden.transpose(1, 2)).transpose(1, 2)
    packed = nn.utils.rnn.pack_padded_sequence(
        upsampled, lengths * UPSAMPLED, batch_first=True, enforce_sorted=False
    )
    # FunASR's LSTM also reads padding; alone, as our server computes, a sentence has none.
    mixed, _ = nn.utils.rnn.pad_packed_sequence(
        predictor.blstm(packed)[0], batch_first=True, total_length=upsampled.shape[1]
    )
    alphas = torch.sigmoid(predictor.cif_output2(mixed)).squeeze(-1)
    alphas = torch.relu(alphas * predictor.smooth_factor2 - predictor.noise_threshold2)
    valid = torch.arange(alphas.shape[1])[None, :] < (lengths * UPSAMPLED)[:, None]
    return alphas * valid


def loss(predictor: nn.Module, batch: list[Frozen]) -> tuple[Tensor, float]:
    """Return the loss, and the mean error of a character's begin in ms.

    One unit is due when each character begins, and one when the last one ends: between two peaks
    lies a character.
    """
    hidden = nn.utils.rnn.pad_sequence([one.hidden for one in batch], batch_first=True)
    lengths = torch.tensor([len(one.hidden) for one in batch])
    alphas = weights(predictor, hidden, lengths)
    due = [torch.from_numpy(np.append(one.begins, one.ends[-1])).float() for one in batch]
    at = nn.utils.rnn.pad_sequence(due, batch_first=True, padding_value=-1.0)
    real = at >= 0
    place = at / POSITION_MS + FIRES_LATER
    last = (lengths * UPSAMPLED - 1)[:, None]
    index = place.floor().long().clamp(min=0).minimum(last)
    goal = torch.arange(1, at.shape[1] + 1).float()[None, :]
    count = real.sum(1)
    total = alphas.sum(1)
    scaled = alphas * (count / total.clamp(min=1e-3))[:, None]
    reached = scaled.cumsum(1).gather(1, index)
    off = ((reached - goal).abs() * real).sum() / real.sum()
    position = torch.arange(alphas.shape[1])[None, :]
    begin, end = place[:, :1], place.gather(1, count[:, None] - 1)
    silence = (position < begin - 10) | (position > end + 1)
    noise = (alphas * silence).sum() / real.sum()
    quantity = (total - count).abs().sum() / count.sum()
    with torch.no_grad():
        crossed = (scaled.cumsum(1)[:, None] < goal[..., None] - 1e-3).sum(2)
        error = ((crossed - place.floor()).abs() * real).sum() / real.sum() * POSITION_MS
    return off + 0.3 * quantity + 2 * noise, float(error)


def train(
    predictor: nn.Module, data: list[Frozen], seconds: float, log: Callable[[str], None]
) -> None:
    """Train the second head alone for so long, by the wall clock."""
    parts = [predictor.upsample_cnn, predictor.blstm, predictor.cif_output2]
    learnt = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=1e-3, weight_decay=0.01)
    choose = np.random.default_rng(1)
    data = sorted(data, key=lambda one: len(one.hidden))
    data = [one for one in data if len(one.hidden) <= LONGEST] or data
    began, step, mean = time.monotonic(), 0, 0.0
    while (share := (time.monotonic() - began) / seconds) < 1:
        start = int(choose.integers(0, max(1, len(data) - BATCH)))
        value, error = loss(predictor, data[start : start + BATCH])
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 10, 1.5 * (1 - share) + 0.01)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(learnt, 2.0)
        optimizer.step()
        mean = 0.95 * mean + 0.05 * error if step else error
        step += 1
        if step % 10 == 0:
            log(f"times: step {step} loss {float(value):.3f} error {mean:.0f} ms")
