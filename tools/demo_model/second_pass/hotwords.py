"""Teach the bias decoder to copy hotwords, with the recogniser frozen (SeACo).

A batch shares a list: spans and invented words of some of its texts, words that nobody says, and
words that differ from what is said in one character. Where a listed word is said its characters
are due, elsewhere `NO_BIAS`.

Without these it learns little, or only the words that it was trained with:
- It begins as a search (`begin`). The recogniser's output for a character is close to that
  character's row of the output layer, also where a homophone won; a word's embedding begins as the
  sum of its rows. Projections begin as the identity, and the first FSMN adds up neighbours, so
  that a character finds the words that contain it and its neighbours.
- Its attention is taught, too: to the word that is said, elsewhere to the list's end (guided
  attention, Tang et al., https://arxiv.org/abs/2401.08835).
- `NO_BIAS` is due for nine characters of ten: it counts for little at first.
- Every invented word is said in one sentence only, so there are as many words as sentences.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.demo_model.architecture import WIDTH
from tools.demo_model.train import FAST_BFLOAT16

from .architecture import BIAS_UNITS, NO_BIAS, START
from .frozen import Frozen
from .network import OfflineModel, decode_layers

BATCH = 48
LONGEST_LIST = 300
PEAK = 1e-3
NO_BIAS_COUNTS = (0.1, 1.5)
"""What a character without a hotword counts in the loss, at the beginning and at the end."""
LESS_CERTAIN = 1.0
"""What the score of `NO_BIAS` loses at the end: recall gains more than plain sentences lose."""
GUIDANCE = 0.5
"""What the attention's loss counts."""
NEIGHBOURS = ((0.5, 1.1), (-0.3, -0.6))
"""What the FSMN of each layer adds at first: the character two places away, and the next one.

The first layer searches with them, the second takes them away again.
"""
SHARPNESS, COPIED = 1.25, 1.5
"""How large keys and values are at first, behind a layer norm."""
RELU_DEVIATION = 0.58
"""Standard deviation of a ReLU's output for normal input: the norm behind divides by it."""
Word = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording and the invented word in it, if there is one."""

    frozen: Frozen
    word: Word | None


def begin(network: nn.Module) -> None:
    """Set the untrained parts so that a character finds the words that contain it."""
    same = torch.eye(WIDTH)
    with torch.no_grad():
        rows = network.decoder.output_layer.weight
        # The second layer has the same tensors, and they are listed once.
        for name, value in network.bias_encoder.named_parameters():
            value.mul_(0.1)
            # In the order of PyTorch's LSTM: input gate, forget gate, cell, output gate.
            entering, remembering, cell, leaving = value.chunk(4)
            if name.startswith("weight_ih"):
                cell.add_(same * 0.1 / rows.std())
            elif name.startswith("bias_ih"):
                entering.add_(1.0), remembering.add_(1.0), leaving.add_(1.0)
        typical = embed(network, [(10, 20, 30), (40, 50), (60, 70, 80)]).std()
        # The directions in which the characters' rows differ most.
        centred = rows - rows.mean(0)
        directions = torch.linalg.svd(centred, full_matrices=False)[2][: BIAS_UNITS // 2]
        decoder = network.seaco_decoder
        for layer in (*decoder.decoders, *decoder.decoders3):
            # A ReLU for each sign: the layer returns its input.
            layer.feed_forward.w_1.weight.copy_(torch.cat([directions, -directions]))
            layer.feed_forward.w_1.bias.zero_()
            both_signs = torch.cat([directions.T, -directions.T], 1)
            layer.feed_forward.w_2.weight.copy_(both_signs * RELU_DEVIATION)
        for layer, neighbours in zip(decoder.decoders, NEIGHBOURS, strict=True):
            taps = layer.self_attn.fsmn_block.weight.mul_(0.1)[:, 0]
            middle = taps.shape[1] // 2
            for distance, counts in enumerate(neighbours, 1):
                taps[:, middle - distance] += counts
                taps[:, middle + distance] += counts
            source = layer.src_attn
            key, value = source.linear_k_v.weight.mul_(0.1).chunk(2)
            key.add_(same * SHARPNESS / typical)
            value.add_(same * COPIED / typical)
            for projection in (source.linear_q, source.linear_out):
                projection.weight.mul_(0.1).add_(same)
            for projection in (source.linear_q, source.linear_out, source.linear_k_v):
                projection.bias.zero_()


def embed(network: nn.Module, words: list[Word]) -> Tensor:
    """Return one embedding [words, width] for each word."""
    lengths = torch.tensor([len(word) for word in words])
    padded = nn.utils.rnn.pad_sequence([torch.tensor(word) for word in words], batch_first=True)
    outputs, _ = network.bias_encoder(network.decoder.embed(padded))
    return outputs[torch.arange(len(words)), lengths - 1]


def scores(
    network: nn.Module,
    embeddings: Tensor,
    decoded: Tensor,
    list_: Tensor,
    seen: list[Tensor] | None = None,
) -> Tensor:
    """Return logits [batch, tokens, vocabulary] of the bias decoder; padding is zero in both.

    `seen` gets the attention [2 * batch, heads, tokens, words] of each layer.
    """
    keys = list_[None]  # the same for the whole batch
    mask = torch.ones(1, 1, 1, len(list_), dtype=torch.bool)
    both = torch.cat([embeddings, decoded])
    found = decode_layers(network.seaco_decoder, both, keys, mask, seen)
    return network.hotword_output_layer(sum(found.chunk(2)))


class Drawn(NamedTuple):
    """A list for a batch, `<s>` last, and what is due at each token, [batch, tokens].

    labels: the character, `NO_BIAS` where no word of the list is said, -1 for padding; words: the
    number of the word.
    """

    list_: list[Word]
    labels: Tensor
    words: Tensor


def draw(batch: list[Spoken], all_words: list[Word], rng: Random) -> Drawn:
    """Draw a list for a batch."""
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
    list_ = rng.sample(list(listed), min(length, len(listed)))
    list_ += rng.sample(all_words, min(len(all_words), length - len(list_)))
    numbers = {word: number for number, word in enumerate(list_)}
    most = max(len(one.frozen.tokens) for one in batch)
    labels = torch.full((len(batch), most), -1)
    words = torch.full((len(batch), most), len(list_))
    for row, one in enumerate(batch):
        tokens = one.frozen.tokens.tolist()
        labels[row, : len(tokens)] = NO_BIAS
        # Longer words last: they win where two overlap.
        for size in sorted({len(word) for word in numbers}):
            for start in range(len(tokens) - size + 1):
                place = slice(start, start + size)
                number = numbers.get(tuple(tokens[place]))
                if number is not None:
                    labels[row, place] = torch.tensor(tokens[place])
                    words[row, place] = number
    return Drawn([*list_, (START,)], labels, words)


def guidance(seen: list[Tensor], words: Tensor, counts: Tensor) -> Tensor:
    """Return how far the attention is from the `words` that are due; tokens count by `counts`."""
    due, counts = words.repeat(2, 1)[..., None], counts.repeat(2, 1)
    losses = [-(layer.mean(1).gather(2, due)[..., 0] + 1e-6).log() for layer in seen]
    return sum((loss * counts).sum() for loss in losses) / (len(losses) * counts.sum())


def train(
    model: OfflineModel, data: list[Spoken], seconds: float, log: Callable[[str], None]
) -> None:
    """Train bias encoder and bias decoder for so long, by the wall clock."""
    network = model.paraformer
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
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(1.0, (step + 1) / 100, 1.5 * (1 - share) + 0.01)
        first, last = NO_BIAS_COUNTS
        drawn = draw(batch, all_words, rng)
        loss, figures = losses(network, batch, drawn, first + (last - first) * share)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, 2.0)
        optimizer.step()
        step += 1
        for name, figure in figures.items():
            recent[name] = 0.98 * recent.get(name, figure) + 0.02 * figure
        if step % 50 == 0:
            log(f"hotwords: step {step} " + " ".join(f"{k} {v:.3f}" for k, v in recent.items()))
    with torch.no_grad():
        network.hotword_output_layer.bias[NO_BIAS] -= LESS_CERTAIN


def losses(
    network: nn.Module, batch: list[Spoken], drawn: Drawn, no_bias: float
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a batch, and figures for the log; `no_bias` is what `NO_BIAS` counts."""
    labels, seen = drawn.labels, []
    embeddings, decoded = (
        nn.utils.rnn.pad_sequence(rows, batch_first=True)
        for rows in (
            [one.frozen.embeddings.float() for one in batch],
            [one.frozen.decoded.float() for one in batch],
        )
    )
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=FAST_BFLOAT16):
        list_ = embed(network, drawn.list_)
        logits = scores(network, embeddings, decoded, list_, seen).float()
    counts = torch.ones(logits.shape[2])
    counts[NO_BIAS] = no_bias
    real, due = labels >= 0, labels > NO_BIAS
    characters = F.cross_entropy(logits[real], labels[real], counts)
    guided = guidance(seen, drawn.words, counts[labels.clamp(min=0)] * real)
    guess = logits.detach().argmax(2)
    figures = {
        "loss": float(characters),
        "guidance": float(guided),
        "right": float((guess == labels)[due].float().mean()) if due.any() else 1.0,
        "false": float((guess != NO_BIAS)[real & ~due].float().mean()),
    }
    return characters + GUIDANCE * guided, figures


@torch.inference_mode()
def merge(model: OfflineModel, item: Frozen, words: list[Word], weight: float = 1.0) -> list[int]:
    """Return token ids with a list, as FunASR merges them; no words are filtered out."""
    network = model.paraformer
    list_ = embed(network, [*words, (START,)])
    bias = scores(network, item.embeddings[None], item.decoded[None], list_)[0].log_softmax(-1)
    plain = network.decoder.output_layer(item.decoded).log_softmax(-1)
    chosen = bias.argmax(-1)
    biased = (1 - weight) * plain + weight * bias
    return torch.where(chosen == NO_BIAS, plain.argmax(-1), biased.argmax(-1)).tolist()
