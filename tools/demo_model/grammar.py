"""A closed grammar of everyday Mandarin: what the demo model can recognise.

Sentences are in spoken form (numbers as words) with ，。？！ marks.  No two of them sound alike: of
sentences with the same toned pinyin only the first is kept, so that sound decides the text.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from . import lexicon as lex
from . import numbers as num
from .pinyin import syllables
from .templates import TEMPLATES

MARKS = "，。？！"
_SLOT = re.compile(r"\{(\w+)\}")


def people() -> list[str]:
    """Full names; every given name goes with two surnames, chosen once and for all."""
    count = len(lex.SURNAMES)
    names = []
    for index, given in enumerate(lex.GIVEN_NAMES):
        for turn in (7 * index, 7 * index + 53):
            names.append(lex.SURNAMES[turn % count] + given)
    return names


def _product(rng: Random) -> str:
    return rng.choice(lex.PRODUCTS) + rng.choice(lex.PRODUCT_KINDS)


def _ten_minutes(rng: Random) -> str:
    return num.counted(rng.choice([1, 2, 3, 5, 8, 10, 15, 20, 25, 30, 40, 45, 50, 60, 90]))


def _level(rng: Random) -> str:
    return num.cardinal(rng.randint(16, 30))


def _day_word(rng: Random) -> str:
    week = "星期" + rng.choice("一二三四五六天")
    return rng.choice(["今天", "明天", "后天", "昨天", "前天", "周末", "下周" + week[-1], week])


_PEOPLE = people()

_LISTS: dict[str, list[str]] = {
    "person": _PEOPLE,
    "city": lex.CITIES,
    "city2": lex.CITIES,
    "sight": lex.SIGHTS,
    "place": lex.PLACES,
    "brand": lex.PRODUCTS,
    "dish": lex.DISHES,
    "dish2": lex.DISHES,
    "drink": lex.DRINKS,
    "fruit": lex.FRUITS,
    "vegetable": lex.VEGETABLES,
    "device": lex.DEVICES,
    "room": lex.ROOMS,
    "part": lex.CAR_PARTS,
    "song": lex.SONGS,
    "book": lex.BOOKS,
    "subject": lex.SUBJECTS,
    "sport": lex.SPORTS,
    "job": lex.JOBS,
    "relative": lex.RELATIVES,
    "animal": lex.ANIMALS,
    "animal2": lex.ANIMALS,
    "weather": lex.WEATHERS,
    "clothes": lex.CLOTHES,
    "goods": lex.GOODS,
    "goods2": lex.GOODS,
    "colour": lex.COLOURS,
    "ill": lex.ILLS,
    "body": lex.BODY,
    "department": lex.DEPARTMENTS,
    "meeting": lex.MEETINGS,
    "document": lex.DOCUMENTS,
    "show": lex.HOBBY_THINGS,
    "festival": lex.FESTIVALS,
    "plant": lex.PLANTS,
    "verb": lex.VERBS_THING,
    "adjective": lex.ADJECTIVES,
    "adjective2": lex.ADJECTIVES,
    "feeling": lex.FEELINGS,
    "proverb": lex.PROVERBS,
}

_DRAWS: dict[str, Callable[[Random], str]] = {
    "product": _product,
    "date": num.date,
    "clock": num.daytime,
    "money": num.money,
    "percent": num.percent,
    "decimal": num.decimal,
    "phone": num.phone,
    "landline": num.landline,
    "code": num.code,
    "fraction": num.fraction,
    "temperature": num.temperature,
    "n": num.small,
    "ordinal": num.ordinal,
    "length": num.length,
    "duration": num.duration,
    "minutes": _ten_minutes,
    "level": _level,
    "day": _day_word,
    "number": lambda rng: num.cardinal(num.amount(rng)),
    "year": num.year,
}

_FILLERS = ("嗯，", "呃，", "啊，", "那个，", "就是，")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence with its marks, its characters alone, and how it is pronounced."""

    punctuated: str
    text: str
    pinyin: tuple[str, ...]
    group: str

    @property
    def key(self) -> str:
        return " ".join(self.pinyin)


def strip_marks(text: str) -> str:
    """The characters of a text without its punctuation."""
    return "".join(character for character in text if character not in MARKS)


def _fill(template: str, rng: Random) -> str:
    def draw(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot in _LISTS:
            return rng.choice(_LISTS[slot])
        return _DRAWS[slot](rng)

    return _SLOT.sub(draw, template)


def _hesitate(sentence: str, rng: Random) -> str:
    """Put a filler in front of a sentence, or say its first one or two characters twice."""
    if rng.random() < 0.6:
        return rng.choice(_FILLERS) + sentence
    size = rng.choice((1, 2, 2))
    return sentence[:size] + "，" + sentence if sentence[size] not in MARKS else sentence


def sentences(seed: int, hesitant: float = 0.04) -> Iterator[Sentence]:
    """Endless stream of distinct sentences, deterministic in the seed."""
    rng = Random(seed)
    groups = sorted(TEMPLATES)
    seen: set[str] = set()
    while True:
        group = rng.choice(groups)
        punctuated = _fill(rng.choice(TEMPLATES[group]), rng)
        if rng.random() < hesitant:
            punctuated = _hesitate(punctuated, rng)
        text = strip_marks(punctuated)
        if not 2 <= len(text) <= 30:
            continue
        sounds = syllables(punctuated)
        key = " ".join(sounds)
        if key in seen:
            continue
        seen.add(key)
        yield Sentence(punctuated, text, sounds, group)


def is_held_out(sentence: Sentence, share: float = 0.04) -> bool:
    """Whether the split keeps a sentence for tests: decided by its text alone."""
    return zlib.crc32(sentence.text.encode()) % 10_000 < share * 10_000


@dataclass(frozen=True, slots=True)
class Corpus:
    """The training sentences, the held-out ones, and every character of the former."""

    training: list[Sentence]
    held_out: list[Sentence]
    characters: list[str]


def build_corpus(seed: int = 1, size: int = 100_000, enough: int = 12) -> Corpus:
    """Draw `size` sentences and split them.

    A held-out sentence is dropped when one of its characters is in fewer than `enough` training
    sentences: it would test vocabulary without training data.
    """
    training: list[Sentence] = []
    held_out: list[Sentence] = []
    for sentence in sentences(seed):
        (held_out if is_held_out(sentence) else training).append(sentence)
        if len(training) + len(held_out) == size:
            break
    seen = Counter(character for s in training for character in set(s.text))
    held_out = [s for s in held_out if all(seen[c] >= enough for c in s.text)]
    return Corpus(training, held_out, sorted(seen))


def oversample(sentences_: list[Sentence], count: int, floor: int, seed: int) -> list[Sentence]:
    """Choose `count` sentences to be spoken so that rare characters occur `floor` times."""
    rng = Random(seed)
    chosen = rng.sample(sentences_, min(count, len(sentences_)))
    count_of = Counter(character for s in chosen for character in s.text)
    having: dict[str, list[Sentence]] = {}
    for sentence in sentences_:
        for character in set(sentence.text):
            having.setdefault(character, []).append(sentence)
    for character in sorted(having, key=lambda c: (count_of[c], c)):
        while count_of[character] < floor:
            sentence = rng.choice(having[character])
            chosen.append(sentence)
            count_of.update(sentence.text)
    while len(chosen) < count:
        chosen.append(rng.choice(sentences_))
    rng.shuffle(chosen)
    return chosen
