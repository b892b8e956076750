"""Who speaks: variants of the synthesiser's Mandarin voice, and how fast and how high.

Ten variants are never used in training; neither are two windows of speaking rate and two of pitch,
so that tests can ask for a voice, a speed and a pitch that are absent from the training set.
"""

from dataclasses import dataclass
from random import Random

BASE_VOICE = "cmn-latn-pinyin"

TRAINING_VOICES = """
Alex Alicia Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Mario Michael
Mike Mr Nguyen RicishayMax RicishayMax2 RicishayMax3 UniRobot adam anika anikaRobot antonio aunty
belinda boris caleb david ed edward2 f1 f2 f3 f4 grandma grandpa gustave iven iven2 iven3 iven4
john kaukovalta klatt klatt2 klatt4 klatt5 klatt6 linda m1 m2 m3 m4 m6 m7 marcelo max michel
miguel norbert pablo paul pedro quincy rob robert sandro shelby steph steph3 travis zac robosoft
robosoft2 robosoft4
""".split()

UNSEEN_VOICES = "m5 m8 f5 Marco Andrea victor steph2 benjamin edward klatt3".split()

# Voices that listeners find plain; recordings in the repository are made with these.
PLAIN_VOICES = "f2 m3 Annie Alex f4 Michael linda m7".split()

RATE_RANGE = (115, 225)
PITCH_RANGE = (22, 82)
HELD_OUT_RATES = ((146, 154), (186, 194))
HELD_OUT_PITCHES = ((40, 45), (58, 63))


@dataclass(frozen=True, slots=True)
class Voice:
    """One way of speaking: variant, words a minute, pitch 0-100, pitch range 0-100."""

    variant: str
    rate: int
    pitch: int
    inflection: int


def _outside(rng: Random, low: int, high: int, windows: tuple[tuple[int, int], ...]) -> int:
    while True:
        value = rng.randint(low, high)
        if not any(first <= value <= last for first, last in windows):
            return value


def _inside(rng: Random, windows: tuple[tuple[int, int], ...]) -> int:
    return rng.randint(*rng.choice(windows))


def training_voice(rng: Random) -> Voice:
    """A voice for training: seen variant, rate and pitch outside the held-out windows."""
    return Voice(
        rng.choice(TRAINING_VOICES),
        _outside(rng, *RATE_RANGE, HELD_OUT_RATES),
        _outside(rng, *PITCH_RANGE, HELD_OUT_PITCHES),
        rng.randint(25, 75),
    )


def held_out_voice(rng: Random, variants: list[str]) -> Voice:
    """A voice for tests: any of the given variants at a held-out rate and pitch."""
    return Voice(
        rng.choice(variants),
        _inside(rng, HELD_OUT_RATES),
        _inside(rng, HELD_OUT_PITCHES),
        rng.randint(25, 75),
    )
