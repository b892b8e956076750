"""Sentences with invented words, which the recogniser never learns and hotwords must supply."""

from collections.abc import Iterator
from random import Random

from . import grammar, lexicon

BENCHMARK_SEED = 7
"""`benchmarks.hotwords` draws its names from this seed and the next; training avoids them."""
RESERVED = 1_000


def names(seed: int) -> Iterator[str]:
    """Yield names, endlessly, of the grammar's surnames and characters but not in the grammar."""
    rng = Random(seed)
    given = sorted({character for name in lexicon.GIVEN_NAMES for character in name})
    known = {*grammar.people(), *lexicon.GIVEN_NAMES}
    while True:
        name = rng.choice(lexicon.SURNAMES) + "".join(rng.choices(given, k=rng.choice((1, 2, 2))))
        if name not in known and name[1:] not in known and name[2:] not in known:
            known.add(name)
            yield name


def words(characters: list[str], seed: int) -> Iterator[str]:
    """Yield words for training, endlessly: names, and two to four characters of the vocabulary."""
    rng = Random(seed)
    reserved = set()
    for taken in (names(BENCHMARK_SEED), names(BENCHMARK_SEED + 1)):
        reserved |= {next(taken) for _ in range(RESERVED)}
    like_names = names(seed)
    while True:
        shape = rng.random()
        if shape < 0.5:
            word = next(like_names)
        elif shape < 0.75:
            word = rng.choice(lexicon.SURNAMES) + "".join(rng.choices(characters, k=2))
        else:
            word = "".join(rng.choices(characters, k=rng.choice((2, 3, 3, 4))))
        if word not in reserved:
            yield word


def sentences(corpus: grammar.Corpus, count: int, seed: int) -> list[tuple[grammar.Sentence, str]]:
    """Return training sentences in which an invented word stands for the person, and the word."""
    people = grammar.people()
    about = []
    for sentence in corpus.training:
        persons = [person for person in people if person in sentence.text]
        if len(persons) == 1:
            about.append((sentence, persons[0]))
    rng, drawn = Random(seed), words(corpus.characters, seed)
    made = []
    for _ in range(count):
        (sentence, person), word = rng.choice(about), next(drawn)
        punctuated = sentence.punctuated.replace(person, word)
        text = sentence.text.replace(person, word)
        made.append((grammar.Sentence(punctuated, text, (), sentence.group), word))
    return made
