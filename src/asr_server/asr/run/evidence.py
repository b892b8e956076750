"""How likely hotwords' tokens were, computed where the scores are. See `HotwordSet.evidence`.

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
    """A set's tables as tensors."""

    columns: Tensor  # (C,)
    members: Tensor
    offsets: Tensor  # (S,)
    readings: Tensor  # (C, R)
    penalties: Tensor  # (C, R)


class EvidenceGatherer:
    """Gathers evidence on one device and keeps each set's tables there while the set lives."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tables: WeakKeyDictionary[HotwordSet, _OnDevice] = WeakKeyDictionary()

    def __call__(
        self, scores: Sequence[Tensor | None], sets: Sequence[HotwordSet | None]
    ) -> list[Evidence | None]:
        """The evidence (N, C) of every row that has a set, from its scores (N, V).

        No scores mean no tokens. Rows that share a set are computed together.
        """
        rows: dict[HotwordSet, list[int]] = {}
        for row, words in enumerate(sets):
            if words is not None:
                rows.setdefault(words, []).append(row)
        gathered: list[Evidence | None] = [None] * len(sets)
        for words, sharing in rows.items():
            nothing = torch.zeros((0, 1))
            own = [nothing if (s := scores[row]) is None else s for row in sharing]
            for row, evidence in zip(sharing, self._gather(own, words), strict=True):
                gathered[row] = evidence.numpy()
        return gathered

    def _gather(self, scores: Sequence[Tensor], words: HotwordSet) -> Sequence[Tensor]:
        counts = [len(own) for own in scores]
        if not any(counts):
            return [torch.zeros((0, len(words.pieces)))] * len(counts)
        tables = self._on_device(words)
        behind = torch.cat([own for own in scores if len(own)]).float()  # (N, V)
        behind = behind - behind.amax(dim=1, keepdim=True)
        sums = F.embedding_bag(
            tables.members, behind.exp().T.contiguous(), tables.offsets, mode="sum"
        )  # (S, N)
        alike = (sums.log()[tables.readings] - tables.penalties[:, :, None]).amax(dim=1)  # (C, N)
        evidence = torch.maximum(behind[:, tables.columns], alike.T).clamp(max=0.0)
        return torch.split(evidence.cpu(), counts)

    def _on_device(self, words: HotwordSet) -> _OnDevice:
        if words not in self._tables:
            tables = (words.columns, *words.sounds)
            self._tables[words] = _OnDevice(
                *(torch.from_numpy(table).to(self._device) for table in tables)
            )
        return self._tables[words]
