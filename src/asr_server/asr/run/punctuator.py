"""Run the punctuation network on many sentences at once."""

from collections.abc import Sequence
from pathlib import Path

import torch

from asr_server.asr.loading.model_dir import ModelDir
from asr_server.asr.loading.networks import load_punctuation

MAX_TOKENS = 512
"""Tokens computed at once, unless one sentence has more: the memory of thirty long sentences at
once would stay with the thread (docs/adr/0032-memory.md)."""

NO_MARKS = frozenset({"<unk>", "_"})
"""Entries of the model's `punc_list` that stand for no mark."""


class Punctuator:
    """Predict the marks of sentences."""

    def __init__(self, path: Path) -> None:
        """Load a FunASR model directory; raises as `ModelDir` does."""
        model = ModelDir.open(path)
        self.model = load_punctuation(model)
        self._ids = {token: index for index, token in enumerate(model.tokens)}
        self._unknown = self._ids.get("<unk>", len(model.tokens) - 1)
        marks = model.config["model_conf"]["punc_list"]
        self._marks = tuple("" if mark in NO_MARKS else mark for mark in marks)

    @torch.inference_mode()
    def marks(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """Return the mark after every piece of every sentence, empty where there is none."""
        marks: list[tuple[str, ...]] = [()] * len(sentences)
        for batch in _batches([len(pieces) for pieces in sentences]):
            rows = self._predict([sentences[number] for number in batch])
            for number, row in zip(batch, rows, strict=True):
                marks[number] = row
        return marks

    def _predict(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """Return the marks of one batch, in which no sentence is empty."""
        longest = max(map(len, sentences))
        tokens = torch.zeros((len(sentences), longest), dtype=torch.int64)
        for row, pieces in zip(tokens, sentences, strict=True):
            ids = [self._ids.get(piece.removesuffix("@@"), self._unknown) for piece in pieces]
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        lengths = torch.tensor([len(pieces) for pieces in sentences])
        best = self.model(tokens, lengths).argmax(dim=2).tolist()
        return [
            tuple(self._marks[mark] for mark in row[: len(pieces)])
            for row, pieces in zip(best, sentences, strict=True)
        ]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return batches of sentences of similar `lengths`, each of up to `MAX_TOKENS` tokens."""
    batches: list[list[int]] = []
    room = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not lengths[number]:
            break
        if not room:
            batches.append([])
            room = max(1, MAX_TOKENS // lengths[number])
        batches[-1].append(number)
        room -= 1
    return batches
