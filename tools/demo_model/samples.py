"""The recordings in `tests/data`: one of each kind of sentence, chosen without a model."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from asr_server.text.itn import normalise

from .grammar import Sentence
from .recordings import Conditions, Recording, Silences, noise_bank, record
from .synthesis import SAMPLE_RATE, Synthesiser
from .test_sets import character_times, held_out_sentences, write_wav
from .voices import PLAIN_VOICES, held_out_voice

SEED = 2024
PAUSE = 1.2


def _says(*words: str) -> Callable[[Sentence], bool]:
    return lambda sentence: any(word in sentence.text for word in words)


# Name of the file, group of the grammar, and what the sentence must contain.
_KINDS: list[tuple[str, str, Callable[[Sentence], bool]]] = [
    ("greeting", "greeting", _says("你好", "您好", "早上好", "认识你")),
    ("phone", "phone", _says("电话是", "号码是")),
    ("date", "date", _says("月")),
    ("time", "time", _says("点")),
    ("money", "money", _says("元", "块")),
    ("percent", "percent", _says("百分之")),
    ("question", "talk", lambda sentence: sentence.punctuated.endswith("？")),
    ("command", "home", _says("打开", "关闭")),
]


def _timed(sentence: Sentence, made: Recording, first: int) -> dict[str, object]:
    """A sentence with its begin and end, its characters beginning at index `first`."""
    to_ms = 1000 / SAMPLE_RATE
    last = first + len(sentence.text) - 1
    return {
        "text": sentence.text,
        "punctuated": sentence.punctuated,
        "begin_ms": round(made.begins[first] * to_ms),
        "end_ms": round(made.ends[last] * to_ms),
    }


def build(folder: Path) -> None:
    """Write the recordings and `manifest.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    choose = Random(SEED)
    rng = np.random.default_rng(SEED)
    synthesiser = Synthesiser()
    sentences = held_out_sentences()
    noises = noise_bank(synthesiser, sentences, SEED)
    conditions = Conditions(peak_db=-6.0, snr_db=30.0, noise=1)
    plans: list[tuple[str, list[Sentence]]] = []
    for name, group, fits in _KINDS:
        having = [s for s in sentences if s.group == group and fits(s) and len(s.text) <= 18]
        plans.append((name, [choose.choice(having)]))
    short = [s for s in sentences if 6 <= len(s.text) <= 12 and s.group in ("weather", "food")]
    plans.append(("two_sentences", choose.sample(short, 2)))
    entries = []
    for name, chosen in plans:
        made = record(
            synthesiser,
            chosen,
            held_out_voice(choose, PLAIN_VOICES),
            Silences(0.4, PAUSE, 0.6),
            conditions,
            noises,
            rng,
        )
        if made is None:
            raise RuntimeError(f"cannot speak {chosen}")
        write_wav(folder / f"{name}.wav", made.pcm)
        firsts = np.cumsum([0] + [len(sentence.text) for sentence in chosen])
        entries.append(
            {
                "file": f"{name}.wav",
                "text": made.text,
                "punctuated": "".join(sentence.punctuated for sentence in chosen),
                "written": normalise("".join(sentence.punctuated for sentence in chosen)),
                "duration_ms": round(len(made.pcm) * 1000 / SAMPLE_RATE),
                "sentences": [
                    _timed(s, made, int(first)) for s, first in zip(chosen, firsts, strict=False)
                ],
                "characters": character_times(made),
            }
        )
    text = json.dumps(entries, ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
