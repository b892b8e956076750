"""Compile a hotword list for a vocabulary: spellings, bonuses, and which tokens sound alike."""

import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from asr_server.asr.hotwords import HotwordSet, Sounds, WordsOfLength
from asr_server.text.hotwords import check, spellings

log = logging.getLogger(__name__)

BONUSES = (0.0, 0.6, 2.0, 2.75)
"""Bonus of words of one, two, three and more tokens, in nats, to be multiplied by their weight.

Two characters often sound like others by chance, three rarely. Fitted with `benchmarks.hotwords`.
"""

SUPER_WEIGHT = 7
"""The weight that 50 stands for."""

MOST_NAMED = 20
"""Words without a spelling whose places in the list are logged."""

SAME_SOUND, SAME_BUT_TONE = 1.0, 2.5
"""Penalties in nats for a character that replaces others of its sound."""


@lru_cache(maxsize=64)
def compile_hotwords(
    hotwords: tuple[tuple[str, int], ...],
    vocabulary: tuple[str, ...],
    names: tuple[tuple[str, int], ...] = (),
) -> HotwordSet | None:
    """Return words and weights compiled for search; None if no word is usable.

    Tasks with the same list share one set, so that a step can treat them together. Words of a
    single character are ignored: too many others sound alike. `names` are further words, from what
    was said. Raises `ValueError` with a sentence for the client.
    """
    ids = {piece: index for index, piece in enumerate(vocabulary)}
    spelled: dict[tuple[str, ...], float] = {}
    weights: dict[tuple[str, ...], int] = {}
    unknown: list[int] = []
    for number, (word, weight) in enumerate((*hotwords, *names), 1):
        check(word, weight)
        ways = spellings(word, ids.keys())
        unknown += [number] if not ways and number <= len(hotwords) else []
        for pieces in ways:
            spelled[pieces] = max(_bonus(pieces, weight), spelled.get(pieces, 0.0))
            weights[pieces] = max(weight, weights.get(pieces, 0))
    if unknown:
        # By place: a hotword may be a person's name, and the client has the list.
        about = {"places": unknown[:MOST_NAMED]}
        log.info("%d hotwords have no spelling in the vocabulary", len(unknown), extra=about)
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
            WordsOfLength(
                np.array([[place[piece] for piece in word] for word in words]),
                np.array([bonuses[word] for word in words], dtype=np.float32),
            )
            for _, words in sorted(lengths.items())
        ),
        spelled=tuple(
            (tuple(ids[piece] for piece in pieces), weights[pieces]) for pieces in bonuses
        ),
    )


def _bonus(pieces: Sequence[str], weight: int) -> float:
    # A whole English word in one token is no less distinct than two characters.
    tokens = max(len(pieces), min(len(pieces[0]), 2))
    return BONUSES[min(tokens, len(BONUSES)) - 1] * min(weight, SUPER_WEIGHT)


def _sounds(
    pieces: Sequence[str], words: Iterable[Sequence[str]], vocabulary: tuple[str, ...]
) -> Sounds:
    tokens_of = _tokens_by_sound(vocabulary)
    read: dict[str, set[str]] = {piece: set() for piece in pieces}
    for word in words:
        for piece, syllable in zip(word, _syllables(word), strict=True):
            read[piece] |= {syllable, syllable.rstrip("12345")} - {""}
    readings = [sorted(read[piece]) for piece in pieces]
    sounds = sorted({sound for sounds in readings for sound in sounds})
    members = [tokens_of.get(sound, []) for sound in sounds]
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


def prepare_vocabulary(vocabulary: tuple[str, ...]) -> None:
    """Look up the sounds of a vocabulary, so that `compile_hotwords` need not."""
    _tokens_by_sound(vocabulary)


@lru_cache(maxsize=2)
def _tokens_by_sound(vocabulary: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the tokens of each syllable, with its tone ("zhong4") and without."""
    tokens: dict[str, list[int]] = {}
    for token, piece in enumerate(vocabulary):
        (syllable,) = _syllables([piece])
        for sound in {syllable, syllable.rstrip("12345")} - {""}:
            tokens.setdefault(sound, []).append(token)
    return tokens


def _syllables(word: Sequence[str]) -> list[str]:
    """Return the syllable of every token of a word, empty for tokens that are no characters.

    A character with several readings has its reading in this word, or else its usual one: with
    rare readings too many characters would sound alike.
    """
    from pypinyin import Style, lazy_pinyin  # not above: it takes a quarter of a second to import

    return lazy_pinyin(
        "".join(piece if len(piece) == 1 else " " for piece in word),
        style=Style.TONE3,
        neutral_tone_with_five=True,
        # A list is allowed, though pypinyin's type hints know of none.
        errors=lambda other: [""] * len(other),  # type: ignore[arg-type, return-value]
    )
