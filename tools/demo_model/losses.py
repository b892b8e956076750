"""What the model is taught: the characters, how many, when they end, and what sounds in a frame."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import Batch
from .model import DemoModel

# The sum of alphas aims a little past a whole number, so that the last character has fired when
# its sound ends; with the tail of 0.45 that leaves 0.6 below and 0.4 above.
MARGIN = 0.15

# Integrate-and-fire uses the true alphas for utterances in which the predictor's are further off
# than this (mean over characters, in characters), and for a few others.
FAR_OFF = 0.5
ALWAYS_TRUE = 0.1


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of the loss, means over tokens or frames, and how many first guesses were right."""

    characters: Tensor
    quantity: Tensor
    alignment: Tensor
    steps: Tensor
    frames: Tensor
    accuracy: float


def _sampled(
    model: DemoModel, embeddings: Tensor, guess: Tensor, batch: Batch, ratio: float
) -> Tensor:
    """Put the true characters' embeddings in place of some, the more the worse the first guess."""
    real = batch.tokens >= 0
    wrong = ((guess != batch.tokens) & real).sum(1)
    replaced = (wrong.float() * ratio).long()
    order = torch.rand(real.shape).masked_fill(~real, 2.0).argsort(1).argsort(1)
    chosen = (order < replaced[:, None]) & real
    truth = model.embedding(batch.tokens.clamp(min=0))
    return torch.where(chosen[..., None], truth.to(embeddings.dtype), embeddings)


def compute(model: DemoModel, batch: Batch, with_frames: bool, ratio: float) -> Losses:
    """All losses of a batch; `ratio` is the sampler's."""
    layout = batch.layout
    encoded = model.encode(layout)
    alphas = encoded.alphas
    goal = batch.counts.float()
    total = alphas.sum(1)
    quantity = (total - goal - MARGIN * (goal > 0)).abs().sum() / goal.sum()
    real = batch.tokens >= 0
    reached = alphas.cumsum(1).gather(1, batch.end_positions)
    due = torch.arange(1, real.shape[1] + 1)[None, :] + MARGIN
    alignment = ((reached - due).abs() * real).sum() / real.sum()
    # One character, one unit: errors of single characters would add up to a drift.
    step = reached.diff(dim=1, prepend=torch.full_like(reached[:, :1], MARGIN)) - 1
    steps = (step**2 * real).sum() / real.sum()
    scaled = alphas * ((goal + 1e-3) / total.clamp(min=1e-3))[:, None]
    off = ((reached - due).detach().abs() * real).sum(1) / goal.clamp(min=1)
    use_gold = (off > FAR_OFF) | (torch.rand(len(goal)) < ALWAYS_TRUE)
    scaled = torch.where(use_gold[:, None], batch.gold * (1 + 1e-4), scaled)
    width = layout.point.width
    fired = model.fire(encoded.hidden, scaled, real.shape[1], width)
    chunks = torch.minimum(fired.chunks, layout.last[:, None])
    embeddings = fired.embeddings
    if ratio > 0:
        with torch.no_grad():
            guess = model.decode(embeddings, chunks, encoded, layout).argmax(2)
        embeddings = _sampled(model, embeddings, guess, batch, ratio)
    logits = model.decode(embeddings, chunks, encoded, layout)
    guess = logits.detach().argmax(2) if ratio == 0 else guess
    accuracy = ((guess == batch.tokens) & real).sum().item() / max(int(real.sum()), 1)
    characters = F.cross_entropy(logits[real], batch.tokens[real], label_smoothing=0.1)
    frames = alphas.new_zeros(())
    if with_frames:
        known = batch.labels.flatten() >= 0
        frame_logits = model.frame_head(encoded.hidden.flatten(0, 1)[known])
        frames = F.cross_entropy(frame_logits.float(), batch.labels.flatten()[known])
    return Losses(characters, quantity, alignment, steps, frames, accuracy)
