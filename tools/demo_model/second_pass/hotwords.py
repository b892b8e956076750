"""Teach the bias decoder to copy hotwords, with the recogniser frozen (SeACo).

A batch shares a list: spans and invented words of some of its texts, words that nobody says, and
words that differ from what is said in one character. Where a listed word is said its characters
are due, elsewhere `NO_BIAS`.

Without these it only learns that most characters belong to no hotword; they were changed together:
- Its attention begins as a search. The recogniser's output for a character is close to that
  character's row of the output layer; a word's embedding begins close to the sum of its rows; so
  with projections near the identity a character finds the words that contain it.
- `NO_BIAS` is due for nine characters of ten: it counts for little at first.
- The bias decoder's layers have 160 units, not 64.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.demo_model.architecture import WIDTH
from tools.demo_model.train import FAST_BFLOAT16

from .architecture import NO_BIAS, START
from .frozen import Frozen
from .network import OfflineModel, decode_layers

BATCH = 48
LONGEST_LIST = 60
PEAK = 2e-3
NO_BIAS_COUNTS = (0.1, 0.3)
"""What a character without a hotword counts in the loss, at the beginning and at the end."""
Word = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording and the invented word in it, if there is one."""

    frozen: Frozen
    word: Word | None


def begin(network: nn.Module) -> None:
    """Set the untrained parts so that a character finds the words that contain it."""
    same = torch.eye(WIDTH)
    typical = network.decoder.output_layer.weight.square().mean().sqrt()
    with torch.no_grad():
        for name, value in network.bias_encoder.named_parameters():
            value.mul_(0.1)
            gain = 0.3 / typical if name.endswith("l0") else 1.5
            # In the order of PyTorch's LSTM: input gate, forget gate, cell, output gate.
            entering, remembering, cell, leaving = value.chunk(4)
            if name.startswith("weight_ih"):
                cell.add_(same * gain)
            elif name.startswith("bias_ih"):
                entering.add_(1.0), remembering.add_(2.0), leaving.add_(1.0)
        for layer in network.seaco_decoder.decoders:
            attention = layer.src_attn
            key, value = attention.linear_k_v.weight.mul_(0.3).chunk(2)
            key.add_(same * 2)
            value.add_(same)
            for projection in (attention.linear_q, attention.linear_out):
                projection.weight.mul_(0.3).add_(same)


def embed(model: OfflineModel, words: list[Word]) -> Tensor:
    """Return one embedding [words, width] for each word."""
    network = model.paraformer
    lengths = torch.tensor([len(word) for word in words])
    padded = nn.utils.rnn.pad_sequence([torch.tensor(word) for word in words], batch_first=True)
    outputs, _ = network.bias_encoder(network.decoder.embed(padded))
    return outputs[torch.arange(len(words)), lengths - 1]


def scores(model: OfflineModel, embeddings: Tensor, decoded: Tensor, list_: Tensor) -> Tensor:
    """Return logits [batch, tokens, vocabulary] of the bias decoder; padding is zero in both."""
    network = model.paraformer
    keys = list_[None]  # the same for the whole batch
    mask = torch.ones(1, 1, 1, len(list_), dtype=torch.bool)
    attended = decode_layers(network.seaco_decoder, embeddings, keys, mask)
    attended = attended + decode_layers(network.seaco_decoder, decoded, keys, mask)
    return network.hotword_output_layer(attended)


def draw(batch: list[Spoken], all_words: list[Word], rng: Random) -> tuple[list[Word], Tensor]:
    """Draw a list for a batch, `<s>` last, and the labels [batch, tokens], -1 for padding."""
    most = max(len(one.frozen.tokens) for one in batch)
    labels = torch.full((len(batch), most), -1, dtype=torch.long)
    listed: dict[Word, None] = {}
    for one in batch:
        tokens = one.frozen.tokens.tolist()
        shape = rng.random()
        size = min(rng.choice((2, 2, 3, 3, 4, 5)), len(tokens))
        start = rng.randrange(len(tokens) - size + 1)
        word = tuple(tokens[start : start + size])
        if one.word and shape < 0.85:
            word = one.word
        if shape < 0.65:
            listed[word] = None
        elif shape < 0.8 and len(word) > 1:
            # One character another: what is said is not on the list.
            place = rng.randrange(len(word))
            other = rng.randrange(3, int(max(tokens)) + 2)
            listed[(*word[:place], other, *word[place + 1 :])] = None
    length = rng.randrange(2, LONGEST_LIST)
    words = rng.sample(list(listed), min(length, len(listed)))
    words += rng.sample(all_words, min(len(all_words), length - len(words)))
    known = set(words)
    for row, one in enumerate(batch):
        tokens = one.frozen.tokens.tolist()
        labels[row, : len(tokens)] = NO_BIAS
        # Longer words last: they win where two overlap.
        for size in sorted({len(word) for word in known}):
            for start in range(len(tokens) - size + 1):
                if tuple(tokens[start : start + size]) in known:
                    span = torch.tensor(tokens[start : start + size])
                    labels[row, start : start + size] = span
    return [*words, (START,)], labels


def train(
    model: OfflineModel, data: list[Spoken], seconds: float, log: Callable[[str], None]
) -> None:
    """Train bias encoder and bias decoder for so long, by the wall clock."""
    network = model.paraformer
    counts = torch.ones(network.decoder.output_layer.out_features)
    first, last = NO_BIAS_COUNTS
    learnt = [
        *network.bias_encoder.parameters(),
        *network.seaco_decoder.parameters(),
        network.hotword_output_layer.bias,
    ]
    optimizer = torch.optim.AdamW(learnt, lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    rng, choose = Random(1), np.random.default_rng(1)
    all_words = [one.word for one in data if one.word]
    data = sorted(data, key=lambda one: len(one.frozen.tokens))
    began, step = time.monotonic(), 0
    recent: dict[str, float] = {}
    while (share := (time.monotonic() - began) / seconds) < 1:
        start = int(choose.integers(0, max(1, len(data) - BATCH)))
        batch = data[start : start + BATCH]
        words, labels = draw(batch, all_words, rng)
        embeddings, decoded = (
            nn.utils.rnn.pad_sequence(rows, batch_first=True)
            for rows in (
                [one.frozen.embeddings for one in batch],
                [one.frozen.decoded for one in batch],
            )
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=FAST_BFLOAT16):
            list_ = embed(model, words)
            logits = scores(model, embeddings, decoded, list_).float()
        real = labels >= 0
        counts[NO_BIAS] = first + (last - first) * share**2
        value = F.cross_entropy(logits[real], labels[real], counts, label_smoothing=0.05)
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(1.0, (step + 1) / 100, 1.5 * (1 - share) + 0.01)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(learnt, 2.0)
        optimizer.step()
        step += 1
        guess = logits.detach().argmax(2)
        due = labels > NO_BIAS
        figures = {
            "loss": float(value),
            "right": float((guess == labels)[due].float().mean()) if due.any() else 1.0,
            "false": float((guess != NO_BIAS)[real & ~due].float().mean()),
        }
        for name, figure in figures.items():
            recent[name] = 0.98 * recent.get(name, figure) + 0.02 * figure
        if step % 50 == 0:
            log(f"hotwords: step {step} " + " ".join(f"{k} {v:.3f}" for k, v in recent.items()))


@torch.inference_mode()
def merge(model: OfflineModel, item: Frozen, words: list[Word], weight: float = 1.0) -> list[int]:
    """Return token ids with a list, as FunASR merges them; no words are filtered out."""
    list_ = embed(model, [*words, (START,)])
    bias = scores(model, item.embeddings[None], item.decoded[None], list_)[0].log_softmax(-1)
    plain = model.paraformer.decoder.output_layer(item.decoded).log_softmax(-1)
    chosen = bias.argmax(-1)
    biased = (1 - weight) * plain + weight * bias
    return torch.where(chosen == NO_BIAS, plain.argmax(-1), biased.argmax(-1)).tolist()
