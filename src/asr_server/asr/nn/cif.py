"""Compute continuous integrate-and-fire over chunks, vectorised over streams and frames.

Dong & Xu, "CIF: Continuous Integrate-and-Fire for End-to-End Speech Recognition" (2020); the chunk
rules are those of FunASR's `CifPredictorV2.forward_chunk`, whose per-frame loop this replaces by a
cumulative sum: a token fires where the integral of the weights crosses a whole number, and its
embedding is the sum of the frames weighted by their share of the interval between two crossings.

Letters of shapes: B rows, T frames, K tokens, D features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Fired:
    """Hold the tokens that fired, and the rest for the next chunk."""

    embeddings: Tensor  # (B, K, D); zeros past `counts`
    counts: Tensor  # (B,) int64
    fired_at: Tensor  # (B, K) float32, in frames from the begin of the chunk's first frame
    rest_weight: Tensor  # (B,)
    rest_hidden: Tensor  # (B, D), the weighted mean of the frames in the rest

    @property
    def token_mask(self) -> Tensor:
        """Return where `embeddings` holds a token, (B, K)."""
        return _token_mask(self.counts, self.embeddings.shape[1])


def integrate_and_fire(
    hidden: Tensor,
    weights: Tensor,
    rest_hidden: Tensor,
    rest_weight: Tensor,
    tail_weight: Tensor,
    threshold: float,
    max_tokens: int | None = None,
) -> Fired:
    """Return the tokens of `hidden` (B, T, D) with `weights` (B, T), going on from the last rest.

    `tail_weight` (B,) is added behind the last frame with no hidden of its own: it fires a token
    whose integral was almost full when the audio ended. K is the most that a row fired, or
    `max_tokens`, which must be enough for any row: with it no shape depends on the weights.
    """
    # The rest is one more frame in front, the tail one more behind.
    weights = torch.cat((rest_weight[:, None], weights, tail_weight[:, None]), dim=1)  # (B, T+2)
    hidden = torch.cat(
        (rest_hidden[:, None], hidden, torch.zeros_like(rest_hidden)[:, None]), dim=1
    )  # (B, T+2, D)
    integral = weights.double().cumsum(dim=1) / threshold  # (B, T+2)
    before = integral - weights.double() / threshold
    counts = integral[:, -1].floor().long()  # (B,)
    tokens = max_tokens
    if tokens is None:
        tokens = int(counts.max()) if counts.numel() else 0
    else:
        # Weights of NaN would index outside `sums`, after which a GPU computes nothing more.
        counts = counts.clamp(0, tokens)

    # Row K holds what is left after the last crossing; every row up to it is an interval [k, k+1).
    k = torch.arange(tokens + 1, device=weights.device)[None, :, None]  # (1, K+1, 1)
    share = (torch.minimum(integral[:, None], k + 1) - torch.maximum(before[:, None], k)).clamp(
        min=0.0
    )  # (B, K+1, T+2)
    sums = torch.matmul((share * threshold).to(hidden.dtype), hidden)  # (B, K+1, D)

    rest = (integral[:, -1] - counts) * threshold  # (B,)
    row = torch.arange(len(counts), device=weights.device)
    rest_sum = sums[row, counts]  # (B, D)
    rest_mean = rest_sum / rest.clamp(min=1e-9).to(hidden.dtype)[:, None]
    return Fired(
        embeddings=sums[:, :tokens] * _token_mask(counts, tokens)[:, :, None],
        counts=counts,
        fired_at=_crossings(integral, before, tokens),
        rest_weight=rest.to(weights.dtype),
        rest_hidden=torch.where((rest > 0)[:, None], rest_mean, rest_sum),
    )


def _token_mask(counts: Tensor, tokens: int) -> Tensor:
    return torch.arange(tokens, device=counts.device) < counts[:, None]


def _crossings(integral: Tensor, before: Tensor, tokens: int) -> Tensor:
    """Return where the integral reaches 1, 2, ... K: (B, K), in frames after the rest's frame."""
    levels = torch.arange(1, tokens + 1, device=integral.device, dtype=integral.dtype)
    frame = torch.searchsorted(integral.contiguous(), levels.repeat(len(integral), 1))  # (B, K)
    frame = frame.clamp(max=integral.shape[1] - 1)
    low, high = before.gather(1, frame), integral.gather(1, frame)
    inside = ((levels[None, :] - low) / (high - low).clamp(min=1e-9)).clamp(0.0, 1.0)
    return (frame - 1 + inside).float()
