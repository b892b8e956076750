"""Compute the evidence for hotwords where the scores are. See `HotwordSet.evidence`.

Letters of shapes: N tokens, V vocabulary, C different tokens in the hotwords, S syllables, R ways
a token can be read.
"""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from asr_server.asr.hotwords import Evidence, HotwordSet


class _OnDevice(NamedTuple):
    """Hold a set's tables as tensors."""

    columns: Tensor  # (C,)
    members: Tensor
    offsets: Tensor  # (S,)
    readings: Tensor  # (C, R)
    penalties: Tensor  # (C, R)


class EvidenceGatherer:
    """Compute evidence on one device; a set's tables stay there as long as the set exists."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tables: WeakKeyDictionary[HotwordSet, _OnDevice] = WeakKeyDictionary()

    def __call__(
        self, scores: Sequence[Tensor | None], sets: Sequence[HotwordSet | None]
    ) -> list[Evidence | None]:
        """Return the evidence (N, C) of every row that has a set, from its scores (N, V).

        A row without scores has no tokens. Rows that share a set are computed together.
        """
        rows: dict[HotwordSet, list[int]] = {}
        for row, words in enumerate(sets):
            if words is not None:
                rows.setdefault(words, []).append(row)
        evidence: list[Evidence | None] = [None] * len(sets)
        for words, sharing in rows.items():
            no_tokens = torch.zeros((0, 1))
            own = [no_tokens if (s := scores[row]) is None else s for row in sharing]
            for row, found in zip(sharing, self._gather(own, words), strict=True):
                evidence[row] = found.numpy()
        return evidence

    def _gather(self, scores: Sequence[Tensor], words: HotwordSet) -> Sequence[Tensor]:
        counts = [len(own) for own in scores]
        if not any(counts):
            return [torch.zeros((0, len(words.pieces)))] * len(counts)
        tables = self._on_device(words)
        logits = torch.cat([own for own in scores if len(own)]).float()  # (N, V)
        logits = logits - logits.amax(dim=1, keepdim=True)
        sums = F.embedding_bag(
            tables.members, logits.exp().T.contiguous(), tables.offsets, mode="sum"
        )  # (S, N)
        same_sound = (sums.log()[tables.readings] - tables.penalties[:, :, None]).amax(
            dim=1
        )  # (C, N)
        evidence = torch.maximum(logits[:, tables.columns], same_sound.T).clamp(max=0.0)
        return torch.split(evidence.cpu(), counts)

    def _on_device(self, words: HotwordSet) -> _OnDevice:
        if words not in self._tables:
            tables = (words.columns, *words.sounds)
            self._tables[words] = _OnDevice(
                *(torch.from_numpy(table).to(self._device) for table in tables)
            )
        return self._tables[words]
