"""What the trained recogniser makes of recordings, computed once: the heads learn from it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tools.demo_model.batches import collate
from tools.demo_model.dataset import Item, Shard
from tools.demo_model.features import Normaliser

from .network import OfflineModel

BATCH = 32


@dataclass(frozen=True, slots=True)
class Frozen:
    """One recording: encoder outputs, CIF's embeddings, the decoder's outputs, and the truth.

    hidden: [frames, width]; embeddings, decoded: [tokens, width]; tokens: [tokens]; begins, ends:
    [tokens], in ms.
    """

    hidden: Tensor
    embeddings: Tensor
    decoded: Tensor
    tokens: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def for_hotwords(self) -> "Frozen":
        """Return what hotwords are learnt from, in little memory."""
        half = {"embeddings": self.embeddings.half(), "decoded": self.decoded.half()}
        return replace(self, hidden=self.hidden[:0].clone(), **half)


@torch.inference_mode()
def freeze(model: OfflineModel, items: list[Item], normaliser: Normaliser) -> Iterator[Frozen]:
    """Run the recogniser; the predictor is scaled to the true number of tokens."""
    items = sorted((item for item in items if len(item.tokens)), key=lambda i: len(i.features))
    for start in range(0, len(items), BATCH):
        chosen = items[start : start + BATCH]
        batch = collate(chosen, normaliser, None)
        layout = batch.layout
        encoded = model.encode(layout)
        alphas = encoded.alphas
        alphas = alphas * ((batch.counts + 1e-3) / alphas.sum(1).clamp(min=1e-3))[:, None]
        fired = model.fire(encoded.hidden, alphas, batch.tokens.shape[1], layout.point.width)
        decoded = model.hidden(fired.embeddings, encoded, layout)
        for row, item in enumerate(chosen):
            count, length = len(item.tokens), int(layout.valid[row].sum())
            yield Frozen(
                encoded.hidden[row, :length].clone(),
                fired.embeddings[row, :count].clone(),
                decoded[row, :count].clone(),
                item.tokens.astype(np.int64),
                item.begins,
                item.ends,
            )


def read_items(speech: Path, pattern: str, most: int) -> list[Item]:
    """Return up to `most` recordings of the shards that match."""
    items: list[Item] = []
    for path in sorted(speech.glob(pattern)):
        if (path / "index.npz").exists() and len(items) < most:
            items += list(Shard(path))
    return items[:most]
