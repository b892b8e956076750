"""The small punctuation model: FunASR's `CTTransformerStreaming`, trained on the grammar's marks.

The server runs it on one sentence with a known end; FunASR's own pipeline runs it with
several sentences at once.  So it learns whole sentences alone, runs of sentences, and texts that
break off, inside numbers above all.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from funasr.models.ct_transformer_streaming.model import CTTransformerStreaming
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from . import grammar
from . import numbers as num
from .dataset import SEED, SENTENCES, vocabulary
from .export import write_pointers, write_tokens, write_yaml

MARKS = ["<unk>", "_", "，", "。", "？", "、"]
NOTHING, COMMA, STOP, QUESTION = 1, 2, 3, 4
# There is no exclamation mark in FunASR's list.
_CLASS = {"，": COMMA, "。": STOP, "！": STOP, "？": QUESTION}
WIDTH = 128
_IGNORED = -1


def configuration(tokens: int) -> dict[str, Any]:
    """Return the content of `config.yaml`."""
    return {
        "model": "CTTransformerStreaming",
        "model_conf": {
            "ignore_id": 0,
            "embed_unit": WIDTH,
            "att_unit": WIDTH,
            "dropout_rate": 0.1,
            "punc_list": MARKS,
            "punc_weight": [1.0] * len(MARKS),
            "sentence_end_id": STOP,
        },
        "encoder": "SANMVadEncoder",
        "encoder_conf": {
            "input_size": WIDTH,
            "output_size": WIDTH,
            "attention_heads": 4,
            "linear_units": 256,
            "num_blocks": 3,
            "dropout_rate": 0.0,
            "positional_dropout_rate": 0.0,
            "attention_dropout_rate": 0.0,
            "input_layer": "pe",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 5,
            "selfattention_layer_type": "sanm",
            "padding_idx": 0,
        },
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>"},
        "vocab_size": tokens,
    }


def create(tokens: int) -> CTTransformerStreaming:
    import funasr.models.ct_transformer_streaming.encoder  # noqa: F401  registers the encoder

    config = configuration(tokens)
    return CTTransformerStreaming(
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        vocab_size=tokens,
        **config["model_conf"],
    )


@dataclass(frozen=True, slots=True)
class Marked:
    """Characters and the mark after each, a class of MARKS."""

    characters: str
    marks: list[int]

    def __add__(self, other: "Marked") -> "Marked":
        return Marked(self.characters + other.characters, self.marks + other.marks)

    def __getitem__(self, span: slice) -> "Marked":
        return Marked(self.characters[span], self.marks[span])


def read_marks(punctuated: str) -> Marked:
    characters, marks = "", []
    for character in punctuated:
        if character in _CLASS:
            marks[-1] = _CLASS[character]
        else:
            characters += character
            marks.append(NOTHING)
    return Marked(characters, marks)


_RUNS = (
    num.money,
    num.percent,
    num.decimal,
    num.phone,
    num.landline,
    num.code,
    num.date,
    num.daytime,
)


class Examples:
    """Random training texts."""

    def __init__(self, sentences: list[grammar.Sentence], seed: int) -> None:
        self.sentences = [read_marks(s.punctuated) for s in sentences]
        self.rng = Random(seed)

    def draw(self) -> Marked:
        shape = self.rng.random()
        if shape < 0.40:
            return self.rng.choice(self.sentences)
        if shape < 0.80:
            return self._run_of_sentences()
        return self._broken_number()

    def _run_of_sentences(self) -> Marked:
        count = self.rng.randint(1, 4)
        text = self.rng.choice(self.sentences)
        for _ in range(count - 1):
            text = text + self.rng.choice(self.sentences)
        if self.rng.random() < 0.5:
            return text[: self.rng.randint(1, len(text.marks))]
        return text

    def _broken_number(self) -> Marked:
        """Return words, then a truncated number, after which any word may follow."""
        head = self.rng.choice(self.sentences)
        head = head[: self.rng.randint(0, len(head.marks))]
        number = self.rng.choice(_RUNS)(self.rng)
        number = number[: self.rng.randint(1, len(number))]
        if head.marks and head.marks[-1] == NOTHING:
            # The text before the number is cut at random, so its last mark is unknown too.
            head = Marked(head.characters, [*head.marks[:-1], _IGNORED])
        marks = [NOTHING] * (len(number) - 1) + [_IGNORED]
        return head + Marked(number, marks)

    def batches(self, size: int, ids: dict[str, int]) -> Iterator[tuple[Tensor, ...]]:
        """Endless batches of similar length, which saves more than half of the padding.

        Each is ids [size, n], lengths [size], classes [size, n], and where known text ends [size].
        """
        while True:
            texts = sorted((self.draw() for _ in range(8 * size)), key=lambda t: len(t.marks))
            groups = [texts[start : start + size] for start in range(0, len(texts), size)]
            self.rng.shuffle(groups)
            for group in groups:
                yield self._tensors(group, ids)

    def _tensors(self, texts: list[Marked], ids: dict[str, int]) -> tuple[Tensor, ...]:
        size = len(texts)
        longest = max(len(text.marks) for text in texts)
        tokens = torch.zeros(size, longest, dtype=torch.long)
        marks = torch.full((size, longest), _IGNORED, dtype=torch.long)
        unknown = ids["<unk>"]
        for row, text in enumerate(texts):
            # The recogniser errs and meets foreign characters: a few become unknown.
            drop = 0.02 if self.rng.random() < 0.5 else 0.0
            tokens[row, : len(text.marks)] = torch.tensor(
                [unknown if self.rng.random() < drop else ids[c] for c in text.characters]
            )
            marks[row, : len(text.marks)] = torch.tensor(text.marks)
        lengths = torch.tensor([len(text.marks) for text in texts])
        cuts = [self.rng.choice((0, self.rng.randint(0, n))) for n in lengths.tolist()]
        return tokens, lengths, marks, torch.tensor(cuts)


@dataclass(frozen=True, slots=True)
class Marking:
    """Counts of marks: right at the right place, set, due; and of right marks at the end."""

    right: int
    set: int
    due: int
    right_ends: int
    ends: int

    def __str__(self) -> str:
        precision, recall = self.right / max(self.set, 1), self.right / max(self.due, 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        return (
            f"P {precision:.3f} R {recall:.3f} F1 {f1:.3f}, "
            f"mark at the end right in {self.right_ends} of {self.ends}"
        )


@torch.inference_mode()
def evaluate(model: CTTransformerStreaming, texts: list[Marked], ids: dict[str, int]) -> Marking:
    """Marks of texts given whole, each by itself."""
    model.eval()
    right = set_ = due = ends = 0
    for text in texts:
        tokens = torch.tensor([[ids.get(c, ids["<unk>"]) for c in text.characters]])
        length = torch.tensor([tokens.shape[1]])
        logits, _ = model.punc_forward(tokens, length, torch.zeros(1, dtype=torch.long))
        read = logits[0].argmax(1).tolist()
        set_ += sum(mark > NOTHING for mark in read)
        due += sum(mark > NOTHING for mark in text.marks)
        right += sum(a == b > NOTHING for a, b in zip(read, text.marks, strict=True))
        ends += read[-1] == text.marks[-1]
    return Marking(right, set_, due, ends, len(texts))


def train(output: Path, seconds: float = 270.0, batch: int = 96, peak: float = 2e-3) -> None:
    """Train within a budget of time and write the model directory."""
    torch.manual_seed(SEED)
    corpus = grammar.build_corpus(SEED, SENTENCES)
    tokens = vocabulary(corpus.characters)
    ids = {token: index for index, token in enumerate(tokens)}
    model = create(len(tokens))
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.01)
    batches = Examples(corpus.training, SEED).batches(batch, ids)
    began, step, loss_now = time.monotonic(), 0, 0.0
    columns = (TextColumn("punctuation"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[state]}")) as progress:
        task = progress.add_task("", total=seconds, state="")
        while (elapsed := time.monotonic() - began) < seconds:
            share = elapsed / seconds
            for group in optimizer.param_groups:
                group["lr"] = (
                    peak * min(1.0, (step + 1) / 50) * max(0.01, min(1.0, 1.3 * (1 - share)))
                )
            text, lengths, marks, cuts = next(batches)
            model.train()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits, _ = model.punc_forward(text, lengths, cuts)
            loss = F.cross_entropy(
                logits.float().flatten(0, 1), marks.flatten(), ignore_index=_IGNORED
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            loss_now = 0.95 * loss_now + 0.05 * loss.item() if step > 1 else loss.item()
            progress.update(task, completed=elapsed, state=f"step {step} loss {loss_now:.4f}")
    _export(model, tokens, output)
    Console().print(f"{step} steps, loss {loss_now:.4f}")
    report(output)


def _export(model: CTTransformerStreaming, tokens: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().clone() for k, v in model.state_dict().items()}
    torch.save(state, folder / "model.pt")
    write_yaml(folder / "config.yaml", configuration(len(tokens)))
    write_tokens(folder / "tokens.json", tokens)
    write_pointers(folder, "punctuation", cmvn=False)


def load(folder: Path) -> tuple[CTTransformerStreaming, dict[str, int]]:
    tokens = json.loads((folder / "tokens.json").read_text("utf-8"))
    model = create(len(tokens))
    weights = torch.load(folder / "model.pt", weights_only=True)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model, {token: index for index, token in enumerate(tokens)}


def report(folder: Path) -> dict[str, Marking]:
    """Figures on held-out sentences: alone, three in a row, and broken off."""
    model, ids = load(folder)
    corpus = grammar.build_corpus(SEED, SENTENCES)
    rng = Random(7)
    held_out = [read_marks(s.punctuated) for s in rng.sample(corpus.held_out, 900)]
    runs = [held_out[i] + held_out[i + 1] + held_out[i + 2] for i in range(0, 450, 3)]
    broken = [text[: rng.randint(1, len(text.marks))] for text in held_out[:300]]
    figures = {
        "one sentence": evaluate(model, held_out, ids),
        "three sentences": evaluate(model, runs, ids),
        "broken off": evaluate(model, broken, ids),
    }
    for name, figure in figures.items():
        Console().print(f"{name}: {figure}")
    return figures
