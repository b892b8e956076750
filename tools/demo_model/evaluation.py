"""Character error rates of an exported model on the test sets, by our batched streaming pass."""

from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from . import test_sets
from .architecture import WIDTH
from .batches import POINTS
from .features import Normaliser, fbank, stack_frames
from .model import DemoModel
from .scoring import Score, score
from .streaming_layout import Layout, arrange

BATCH = 32


class Reader:
    """An exported model, ready to transcribe recordings."""

    def __init__(self, folder: Path) -> None:
        import json

        self.tokens: list[str] = json.loads((folder / "tokens.json").read_text("utf-8"))
        self.model = DemoModel(len(self.tokens)).eval()
        weights = torch.load(folder / "model.pt", weights_only=True)
        self.model.paraformer.load_state_dict({k: v.float() for k, v in weights.items()})
        self.normaliser = read_normaliser(folder / "am.mvn")

    def transcribe(self, recordings: list[np.ndarray], point: int = 0) -> list[str]:
        """Text of each 16 kHz recording, streamed as one sentence from beginning to end."""
        order = sorted(range(len(recordings)), key=lambda index: len(recordings[index]))
        texts = [""] * len(recordings)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            frames = [
                self.normaliser(torch.from_numpy(stack_frames(fbank(recordings[index]))))
                for index in chosen
            ]
            lengths = torch.tensor([len(f) for f in frames])
            padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
            layout = self.layout(padded, lengths, point)
            for index, ids in zip(chosen, self.model.transcribe(layout), strict=True):
                texts[index] = "".join(self.tokens[i] for i in ids if i > 2)
        return texts

    def layout(self, frames: Tensor, lengths: Tensor, point: int) -> Layout:
        """Lay recordings out as streamed at an operating point."""
        return arrange(frames, lengths, POINTS[point], WIDTH)


def read_normaliser(path: Path) -> Normaliser:
    rows = [
        np.array(line.split("[")[1].split("]")[0].split(), np.float32)
        for line in path.read_text("ascii").splitlines()
        if line.startswith("<LearnRateCoef>")
    ]
    return Normaliser(rows[0], rows[1])


def evaluate(reader: Reader, sets: Path, point: int = 0) -> dict[str, Score]:
    """Score every test set, and every voice of the set of unseen ones."""
    figures: dict[str, Score] = {}
    for name in test_sets.SIZES:
        entries = test_sets.read_manifest(sets / f"{name}.jsonl")
        recordings = [test_sets.read_wav(sets / entry.file) for entry in entries]
        for entry, text in zip(entries, reader.transcribe(recordings, point), strict=True):
            one = score(entry.text, text)
            figures[name] = figures.get(name, Score()) + one
            if name == "B":
                key = f"B {entry.voice}"
                figures[key] = figures.get(key, Score()) + one
    return figures


def show(figures: dict[str, Score], title: str) -> None:
    table = Table(
        "set", "CER", "substituted", "deleted", "inserted", "characters", "wrong", title=title
    )
    for name, figure in figures.items():
        table.add_row(
            name,
            f"{figure.rate:.2%}",
            str(figure.substitutions),
            str(figure.deletions),
            str(figure.insertions),
            str(figure.characters),
            f"{figure.wrong_sentences}/{figure.sentences}",
        )
    Console(width=100).print(table)
