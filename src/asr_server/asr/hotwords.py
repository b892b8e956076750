"""Search a sentence's tokens for hotwords while the sentence grows.

Paraformer decides every token independently, so a sentence is a row of positions with a score for
every token of the vocabulary at each. A position takes either the model's best token, at no cost,
or a token of a hotword. A hotword of k tokens is an arc over k positions; its score is its bonus
less the distance in log-probability between its tokens and the best ones. The path of the highest
score wins (Viterbi). So hotwords cross chunk boundaries and appear in interims.

The model often gets the sound of a name right and its characters wrong. So the score of a character
is at least that of all characters of the same sound together, minus a fixed cost.

A hotword replaces as many tokens as it has: deletions and insertions of the model remain.

Letters of shapes: N tokens, V vocabulary, C different tokens in the hotwords, S syllables, R
readings of a token, W words of one length, K their length.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_server.text.tokens import CONTINUES, Token

MIN_EVIDENCE = -6.0
"""Evidence in nats below which a token cannot be part of a hotword, whatever its neighbours."""

Evidence = NDArray[np.float32]
"""(N, C) log-probability of each of the set's tokens relative to the best token, in nats; at most
0."""


class Arc(NamedTuple):
    """Hold a hotword at a position of a sentence where its bonus exceeds its cost."""

    begin: int
    """Number of its first token in the sentence."""
    pieces: tuple[str, ...]
    costs: tuple[float, ...]
    """Evidence of each piece; at most 0."""
    score: float

    @property
    def end(self) -> int:
        """Return one past the number of its last token."""
        return self.begin + len(self.pieces)


class Sounds(NamedTuple):
    """Hold which tokens of the vocabulary sound like the set's."""

    members: NDArray[np.int64]
    """Token ids, syllable after syllable."""
    offsets: NDArray[np.int64]
    """(S,) where each syllable's members begin; the last syllable has none."""
    readings: NDArray[np.int64]
    """(C, R) syllables a token can be read as, padded with the last."""
    penalties: NDArray[np.float32]
    """(C, R) cost in nats of taking another token of that syllable for it."""


class WordsOfLength(NamedTuple):
    """Hold the hotwords of one length."""

    columns: NDArray[np.int64]  # (W, K)
    bonuses: NDArray[np.float32]  # (W,)


@dataclass(frozen=True, eq=False)
class HotwordSet:
    """Hold a hotword list compiled for one vocabulary; made by `compile_hotwords`."""

    pieces: tuple[str, ...]
    """The C different tokens of the words."""
    columns: NDArray[np.int64]
    """(C,) their ids."""
    sounds: Sounds
    words: tuple[WordsOfLength, ...]
    spelled: tuple[tuple[tuple[int, ...], int], ...] = ()
    """Every spelling of a word, as token ids, and its weight."""

    @cached_property
    def longest(self) -> int:
        """Return the number of tokens of the longest word."""
        return max(int(words.columns.shape[1]) for words in self.words)

    def arcs(self, evidence: Evidence, new: int) -> list[Arc]:
        """Return the best word of each length at each position that ends in the last `new` rows.

        Positions count from the first row.
        """
        found = []
        rows = len(evidence)
        usable = np.where(evidence < MIN_EVIDENCE, np.float32(-np.inf), evidence)
        for columns, bonuses in self.words:
            length = columns.shape[1]
            first = max(0, rows - new - length + 1)
            begins = max(0, rows - length + 1 - first)
            scores = np.tile(bonuses, (begins, 1))  # (begins, W)
            for place in range(length):
                scores += usable[first + place : first + place + begins, columns[:, place]]
            for begin, word in enumerate(scores.argmax(axis=1), start=first):
                score = float(scores[begin - first, word])
                if score > 0:
                    chosen = columns[word]
                    costs = evidence[np.arange(begin, begin + length), chosen]
                    pieces = tuple(self.pieces[column] for column in chosen)
                    found.append(Arc(begin, pieces, tuple(costs.tolist()), score))
        return found


class HotwordSearch:
    """Search one sentence while it grows."""

    def __init__(self, words: HotwordSet) -> None:
        self.words = words
        self._count = 0
        self._last = np.zeros((0, len(words.pieces)), dtype=np.float32)
        """Evidence of the last committed tokens, as far as a word may still reach back."""
        self._arcs: list[Arc] = []
        self._uncommitted: list[Arc] = []
        """Arcs that end in tokens not committed yet."""

    def accept(self, evidence: Evidence, *, commit: bool) -> None:
        """Take the evidence of the tokens after the committed ones, in place of what was there.

        `commit` commits these tokens too.
        """
        evidence = np.concatenate((self._last, evidence))
        new = len(evidence) - len(self._last)
        offset = self._count - len(self._last)
        arcs = [arc._replace(begin=arc.begin + offset) for arc in self.words.arcs(evidence, new)]
        self._uncommitted = [] if commit else arcs
        if commit:
            self._arcs += arcs
            self._count += new
            self._last = evidence[max(0, len(evidence) - self.words.longest + 1) :]

    def cut(self, count: int) -> None:
        """Remove the first tokens of the sentence."""
        self._count -= count
        self._last = self._last[max(0, len(self._last) - self._count) :]
        self._arcs, self._uncommitted = (
            [arc._replace(begin=arc.begin - count) for arc in arcs if arc.begin >= count]
            for arcs in (self._arcs, self._uncommitted)
        )

    def rewrite(self, tokens: Sequence[Token]) -> tuple[Token, ...]:
        """Return the sentence's tokens, with those replaced that a hotword covers.

        A position keeps its time and mark; its confidence becomes that of the replacement.
        """
        rewritten = list(tokens)
        for arc in best_path(self._arcs + self._uncommitted, tokens):
            for place, piece, cost in zip(
                range(arc.begin, arc.end), arc.pieces, arc.costs, strict=True
            ):
                token = tokens[place]
                if piece != token.piece:
                    confidence = token.confidence * float(np.exp(cost))
                    rewritten[place] = replace(token, piece=piece, confidence=confidence)
        return tuple(rewritten)


def best_path(arcs: Sequence[Arc], tokens: Sequence[Token]) -> list[Arc]:
    """Return the arcs of the path with the highest score, in order; none splits an English word."""
    inside = [False, *(token.piece.endswith(CONTINUES) for token in tokens)]
    ending: list[list[Arc]] = [[] for _ in inside]
    for arc in arcs:
        if arc.end < len(inside) and not (inside[arc.begin] or inside[arc.end]):
            ending[arc.end].append(arc)
    scores = [0.0]
    last: list[Arc | None] = [None]
    for end in range(1, len(inside)):
        scores.append(scores[-1])
        last.append(None)
        for arc in ending[end]:
            if (score := scores[arc.begin] + arc.score) > scores[end]:
                scores[end], last[end] = score, arc
    path = []
    place = len(tokens)
    while place:
        chosen = last[place]
        if chosen is not None:
            path.append(chosen)
        place = place - 1 if chosen is None else chosen.begin
    return path[::-1]
