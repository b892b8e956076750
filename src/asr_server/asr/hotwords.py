"""Hotwords in the stream: a search over a sentence's tokens that favours what the client listed.

Paraformer decides every token by itself, so a sentence is a row of positions with a score for
every token of the vocabulary at each. At a position stands either the model's best token, which
costs nothing, or a part of a hotword. A hotword of k tokens is an arc over k positions that costs
how much worse its tokens are there than the best ones and earns a bonus; the way through the
sentence that earns most wins (Viterbi). So words cross the borders of chunks, and interims have
them too.

A name is often heard right and written wrong. So a character is also as good as all characters
together that sound like it, less a penalty.

A hotword replaces as many tokens as it has: what the model left out or added stays so.

Letters of shapes: N tokens, V vocabulary, C different tokens in the hotwords, S syllables, R ways
a token can be read, W words of one length, K their length.
"""

import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_server.text.hotwords import check, spellings
from asr_server.text.tokens import CONTINUES, Token

log = logging.getLogger(__name__)

BONUSES = (0.0, 0.6, 2.0, 2.75)
"""What words of one, two, three and more tokens earn, in nats, times their weight.

Two characters often sound like others by chance, three hardly; long words have evidence enough.
Found with `benchmarks.hotwords`.
"""

SUPER_WEIGHT = 7
"""What the weight 50 counts as."""

SAME_SOUND, SAME_BUT_TONE = 1.0, 2.5
"""Penalties in nats for a character that is taken for others of its sound."""

UNHEARD = -6.0
"""A token so much worse than the best was not said, whatever its neighbours."""

Evidence = NDArray[np.float32]
"""(N, C) how much worse each of the set's tokens is than the best one, in nats; at most 0."""


class Arc(NamedTuple):
    """A hotword at a place of a sentence where it would earn more than it costs."""

    begin: int
    """Number of its first token in the sentence."""
    pieces: tuple[str, ...]
    costs: tuple[float, ...]
    """How much worse each piece is than what the model heard; at most 0."""
    score: float

    @property
    def end(self) -> int:
        """One past the number of its last token."""
        return self.begin + len(self.pieces)


class Sounds(NamedTuple):
    """Which tokens of the vocabulary sound like the set's."""

    members: NDArray[np.int64]
    """Ids of the tokens of syllable after syllable."""
    offsets: NDArray[np.int64]
    """(S,) where each syllable's members begin; the last syllable has none."""
    readings: NDArray[np.int64]
    """(C, R) the syllables a token can be read as, filled up with the last."""
    penalties: NDArray[np.float32]
    """(C, R) what it costs to take another token of that syllable for it."""


class _Words(NamedTuple):
    """The hotwords of one length."""

    columns: NDArray[np.int64]  # (W, K)
    bonuses: NDArray[np.float32]  # (W,)


@dataclass(frozen=True, eq=False)
class HotwordSet:
    """A list of hotwords for one vocabulary, ready for searching. Made by `compiled`."""

    pieces: tuple[str, ...]
    """The C different tokens of the words."""
    columns: NDArray[np.int64]
    """(C,) their ids."""
    sounds: Sounds
    words: tuple[_Words, ...]

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest word."""
        return max(int(words.columns.shape[1]) for words in self.words)

    def evidence(self, scores: NDArray[np.float32]) -> Evidence:
        """From the scores (N, V) of all tokens at some positions; logits will do.

        This says what is meant; backends compute it on their device.
        """
        behind = scores - scores.max(axis=1, keepdims=True)
        members, offsets, readings, penalties = self.sounds
        sums = np.zeros((len(scores), len(offsets)), dtype=np.float32)
        for syllable, (begin, end) in enumerate(itertools.pairwise(offsets)):
            sums[:, syllable] = np.exp(behind[:, members[begin:end]]).sum(axis=1)
        with np.errstate(divide="ignore"):
            alike = (np.log(sums)[:, readings] - penalties).max(axis=2)
        best: Evidence = np.minimum(np.maximum(behind[:, self.columns], alike), 0.0)
        return best

    def arcs(self, evidence: Evidence, new: int) -> list[Arc]:
        """The best word of each length at each place, those that end in the last `new` rows.

        Numbers of tokens are counted from the first row.
        """
        found = []
        rows = len(evidence)
        heard = np.where(evidence < UNHEARD, np.float32(-np.inf), evidence)
        for columns, bonuses in self.words:
            length = columns.shape[1]
            first = max(0, rows - new - length + 1)
            begins = max(0, rows - length + 1 - first)
            scores = np.tile(bonuses, (begins, 1))  # (begins, W)
            for place in range(length):
                scores += heard[first + place : first + place + begins, columns[:, place]]
            for begin, word in enumerate(scores.argmax(axis=1), start=first):
                score = float(scores[begin - first, word])
                if score > 0:
                    chosen = columns[word]
                    costs = evidence[np.arange(begin, begin + length), chosen]
                    pieces = tuple(self.pieces[column] for column in chosen)
                    found.append(Arc(begin, pieces, tuple(costs.tolist()), score))
        return found


class HotwordSearch:
    """The hotwords of one sentence while it grows."""

    def __init__(self, words: HotwordSet) -> None:
        self._words = words
        self._count = 0
        self._last = np.zeros((0, len(words.pieces)), dtype=np.float32)
        """Evidence of the last tokens committed, as far as a word may still reach back."""
        self._arcs: list[Arc] = []
        self._ahead: list[Arc] = []
        """Arcs that end in tokens not committed yet."""

    def hear(self, evidence: Evidence, *, commit: bool) -> None:
        """Take in the evidence of tokens behind those committed, in place of others not committed.

        With `commit` they are committed themselves.
        """
        evidence = np.concatenate((self._last, evidence))
        new = len(evidence) - len(self._last)
        offset = self._count - len(self._last)
        arcs = [arc._replace(begin=arc.begin + offset) for arc in self._words.arcs(evidence, new)]
        self._ahead = [] if commit else arcs
        if commit:
            self._arcs += arcs
            self._count += new
            self._last = evidence[max(0, len(evidence) - self._words.longest + 1) :]

    def cut(self, count: int) -> None:
        """Forget the first tokens of the sentence."""
        self._count -= count
        self._last = self._last[max(0, len(self._last) - self._count) :]
        self._arcs, self._ahead = (
            [arc._replace(begin=arc.begin - count) for arc in arcs if arc.begin >= count]
            for arcs in (self._arcs, self._ahead)
        )

    def rewrite(self, tokens: Sequence[Token]) -> tuple[Token, ...]:
        """The sentence's tokens, those replaced that a hotword covers.

        A place's time and mark stay; its confidence becomes the replacement's.
        """
        rewritten = list(tokens)
        for arc in best_path(self._arcs + self._ahead, tokens):
            for place, piece, cost in zip(
                range(arc.begin, arc.end), arc.pieces, arc.costs, strict=True
            ):
                token = tokens[place]
                if piece != token.piece:
                    confidence = token.confidence * float(np.exp(cost))
                    rewritten[place] = replace(token, piece=piece, confidence=confidence)
        return tuple(rewritten)


def best_path(arcs: Sequence[Arc], tokens: Sequence[Token]) -> list[Arc]:
    """The arcs of the way that earns most, in order; none halves an English word."""
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


# Compiling --------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def compiled(
    hotwords: tuple[tuple[str, int], ...], vocabulary: tuple[str, ...]
) -> HotwordSet | None:
    """Words with their weights for searching; None if nothing can come of them.

    Tasks with the same list share one set, so that a step can treat them together. A word of a
    single character is no hotword: it sounds like too much else. Raises `ValueError` with a
    sentence for the client.
    """
    ids = {piece: index for index, piece in enumerate(vocabulary)}
    spelled: dict[tuple[str, ...], float] = {}
    unknown = 0
    for word, weight in hotwords:
        check(word, weight)
        ways = spellings(word, ids.keys())
        unknown += not ways
        for pieces in ways:
            spelled[pieces] = max(_bonus(pieces, weight), spelled.get(pieces, 0.0))
    if unknown:
        log.info("%d of %d hotwords have no spelling in the vocabulary", unknown, len(hotwords))
    bonuses = {pieces: bonus for pieces, bonus in spelled.items() if bonus > 0}
    if not bonuses:
        return None
    pieces = tuple(sorted({piece for word in bonuses for piece in word}))
    place = {piece: index for index, piece in enumerate(pieces)}
    lengths: dict[int, list[tuple[str, ...]]] = {}
    for spelling in bonuses:
        lengths.setdefault(len(spelling), []).append(spelling)
    return HotwordSet(
        pieces=pieces,
        columns=np.array([ids[piece] for piece in pieces]),
        sounds=_sounds(pieces, bonuses, vocabulary),
        words=tuple(
            _Words(
                np.array([[place[piece] for piece in word] for word in words]),
                np.array([bonuses[word] for word in words], dtype=np.float32),
            )
            for _, words in sorted(lengths.items())
        ),
    )


def _bonus(pieces: Sequence[str], weight: int) -> float:
    # A whole English word in one token is no less distinct than two characters.
    tokens = max(len(pieces), min(len(pieces[0]), 2))
    return BONUSES[min(tokens, len(BONUSES)) - 1] * min(weight, SUPER_WEIGHT)


def _sounds(
    pieces: Sequence[str], words: Iterable[Sequence[str]], vocabulary: tuple[str, ...]
) -> Sounds:
    speakers = _speakers(vocabulary)
    read: dict[str, set[str]] = {piece: set() for piece in pieces}
    for word in words:
        for piece, syllable in zip(word, _read(word), strict=True):
            read[piece] |= {syllable, syllable.rstrip("12345")} - {""}
    readings = [sorted(read[piece]) for piece in pieces]
    sounds = sorted({sound for sounds in readings for sound in sounds})
    members = [speakers.get(sound, []) for sound in sounds]
    place = {sound: index for index, sound in enumerate(sounds)}
    shape = (len(pieces), max(1, *map(len, readings)))
    read_as = np.full(shape, len(sounds))
    penalties = np.zeros(shape, dtype=np.float32)
    for row, own in enumerate(readings):
        for way, sound in enumerate(own):
            read_as[row, way] = place[sound]
            penalties[row, way] = SAME_SOUND if sound[-1].isdigit() else SAME_BUT_TONE
    return Sounds(
        members=np.array([token for tokens in members for token in tokens], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, members)]),
        readings=read_as,
        penalties=penalties,
    )


def prepare(vocabulary: tuple[str, ...]) -> None:
    """Look up how a vocabulary sounds, which takes a moment; then `compiled` is quick."""
    _speakers(vocabulary)


@lru_cache(maxsize=2)
def _speakers(vocabulary: tuple[str, ...]) -> dict[str, list[int]]:
    """The tokens that say each syllable, with its tone ("zhong4") and without."""
    speakers: dict[str, list[int]] = {}
    for token, piece in enumerate(vocabulary):
        (syllable,) = _read([piece])
        for sound in {syllable, syllable.rstrip("12345")} - {""}:
            speakers.setdefault(sound, []).append(token)
    return speakers


def _read(word: Sequence[str]) -> list[str]:
    """The syllable of every token of a word, nothing for what is no character.

    Characters with several readings are read as in this word, or else as usual: with rare readings
    too much would sound alike.
    """
    from pypinyin import Style, lazy_pinyin  # not above: it takes a quarter of a second to import

    return lazy_pinyin(
        "".join(piece if len(piece) == 1 else " " for piece in word),
        style=Style.TONE3,
        neutral_tone_with_five=True,
        # A list is allowed, though pypinyin's type hints know of none.
        errors=lambda other: [""] * len(other),  # type: ignore[arg-type, return-value]
    )
