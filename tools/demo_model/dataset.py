"""Read and write the training set: features of all recordings, texts and character times.

A shard is a folder: `features.f16` holds [frames, 80] rows of all recordings one after another,
`index.npz` has the begin and the characters of each recording.
"""

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
from rich.progress import Progress

from . import grammar, invented
from .features import MELS, fbank
from .recordings import (
    Recording,
    Silences,
    draw_conditions,
    draw_silences,
    noise_bank,
    record,
    wordless,
)
from .synthesis import SAMPLE_RATE, Synthesiser
from .voices import TRAINING_VOICES, UNSEEN_VOICES, held_out_voice, training_voice

SEED = 1
SENTENCES = 100_000
SPOKEN = 42_000
RARE_FLOOR = 60
SHARDS = 40
NAMES, NAME_SHARDS = 40_000, 40
JOINED_SHARE = 0.12
WORDLESS_SHARE = 0.015
LONGEST_SECONDS = 14.0
SPECIAL = ["<blank>", "<s>", "</s>"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one shard holds: its number, where to, and the plan of each recording."""

    number: int
    folder: Path
    plans: list[list[grammar.Sentence]]
    kind: str  # "train", "names", or a name of DEV_SETS
    tokens: dict[str, int]


DEV_SETS = ("dev", "dev_unseen", "dev_joined", "dev_noise")


def vocabulary(characters: list[str]) -> list[str]:
    """Token list: blank, start, end, the characters, unknown."""
    return [*SPECIAL, *characters, "<unk>"]


def plan_training(sentences: list[grammar.Sentence], seed: int) -> list[list[grammar.Sentence]]:
    """Group sentences into recordings: mostly one, sometimes two or three, sometimes none."""
    rng = Random(seed)
    plans: list[list[grammar.Sentence]] = []
    position = 0
    while position < len(sentences):
        size = rng.choice((2, 2, 3)) if rng.random() < JOINED_SHARE else 1
        if rng.random() < WORDLESS_SHARE:
            size = 0
        plans.append(sentences[position : position + size])
        position += size
    return plans


def is_for_tests(sentence: grammar.Sentence) -> bool:
    """Held-out sentences fall into two halves: for tests, and for watching the training."""
    return sum(map(ord, sentence.text)) % 4 == 0


def make_recording(
    synthesiser: Synthesiser,
    plan: list[grammar.Sentence],
    kind: str,
    noises: list[np.ndarray],
    rng: np.random.Generator,
    choose: Random,
) -> tuple[Recording | None, float]:
    """One recording of the training or of a development set, and the dither for its features."""
    conditions = draw_conditions(rng, len(noises))
    silences = draw_silences(rng)
    if kind == "train":
        if not plan:
            return wordless(noises, rng), conditions.dither
        voice = training_voice(choose)
    elif kind == "names":
        voice = training_voice(choose)
        silences = replace(silences, after=max(silences.after, 0.0))
    else:
        voice = held_out_voice(choose, UNSEEN_VOICES if kind == "dev_unseen" else TRAINING_VOICES)
        snr = 15.0 if kind == "dev_noise" else 25.0
        conditions = replace(
            conditions, snr_db=snr, reverberant=False, telephone=False, clipped=1.0, dither=0.0
        )
        if kind == "dev_joined":
            silences = Silences(0.3, rng.uniform(0.5, 2.0), rng.uniform(0.3, 2.0))
    made = record(synthesiser, plan, voice, silences, conditions, noises, rng)
    return made, conditions.dither


def _work(part: Part) -> int:
    part.folder.mkdir(parents=True, exist_ok=True)
    synthesiser = Synthesiser()
    babble = [sentence for plan in part.plans for sentence in plan]
    noises = noise_bank(synthesiser, babble, SEED)
    offsets, tokens, begins, ends, counts = [0], [], [], [], []
    with open(part.folder / "features.f16", "wb") as stream:
        for number, plan in enumerate(part.plans):
            rng = np.random.default_rng([SEED, part.number, number])
            choose = Random(f"{SEED} {part.number} {number}")
            made, dither = make_recording(synthesiser, plan, part.kind, noises, rng, choose)
            if made is None or len(made.pcm) > LONGEST_SECONDS * SAMPLE_RATE:
                continue
            features = fbank(made.pcm, dither)
            if len(features) < 10:
                continue
            stream.write(features.astype(np.float16).tobytes())
            offsets.append(offsets[-1] + len(features))
            ids = [part.tokens[c] for c in made.text]
            tokens += ids
            counts.append(len(ids))
            begins.append(made.begins)
            ends.append(made.ends)
    to_ms = 1000 / SAMPLE_RATE
    np.savez(
        part.folder / "index.npz",  # written last: a shard with an index is complete
        offsets=np.array(offsets),
        counts=np.array(counts),
        tokens=np.array(tokens, np.int32),
        begins=(np.concatenate(begins) * to_ms).astype(np.float32),
        ends=(np.concatenate(ends) * to_ms).astype(np.float32),
    )
    return len(part.plans)


def build(folder: Path, processes: int = 2, shards: int = SHARDS) -> None:
    """Make the first `shards` shards; those that are there already are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = grammar.build_corpus(SEED, SENTENCES)
    tokens = vocabulary(corpus.characters)
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    ids = {token: index for index, token in enumerate(tokens)}
    spoken = grammar.oversample(corpus.training, SPOKEN, RARE_FLOOR, SEED)
    plans = plan_training(spoken, SEED)
    watched = [s for s in corpus.held_out if not is_for_tests(s)]
    parts = []
    for number, kind in enumerate(DEV_SETS):
        chosen = Random(kind).sample(watched, min(200, len(watched)))
        grouped = [chosen[i : i + 2] for i in range(0, 100, 2)]
        plan = grouped if kind == "dev_joined" else [[s] for s in chosen]
        parts.append(Part(100 + number, folder / kind, plan, kind, ids))
    for number in range(shards):
        name = f"train-{number:02d}"
        parts.append(Part(number, folder / name, plans[number::SHARDS], "train", ids))
    _run(parts, processes)


def build_names(folder: Path, processes: int = 2) -> None:
    """Make the shards of sentences with invented names, which teach hotwords alone."""
    corpus = grammar.build_corpus(SEED, SENTENCES)
    ids = {token: index for index, token in enumerate(vocabulary(corpus.characters))}
    spoken = invented.sentences(corpus, NAMES, SEED)
    words = {sentence.text: word for sentence, word in spoken}
    (folder / "names.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    plans = [[sentence] for sentence, _ in spoken]
    parts = [
        Part(200 + n, folder / f"names-{n:02d}", plans[n::NAME_SHARDS], "names", ids)
        for n in range(NAME_SHARDS)
    ]
    _run(parts, processes)


def _run(parts: list[Part], processes: int) -> None:
    parts = [part for part in parts if not (part.folder / "index.npz").exists()]
    with multiprocessing.get_context("fork").Pool(processes) as pool, Progress() as progress:
        task = progress.add_task("speech", total=sum(len(part.plans) for part in parts))
        for count in pool.imap_unordered(_work, parts):
            progress.advance(task, count)


@dataclass(frozen=True, slots=True)
class Item:
    """One recording: fbank frames [frames, 80] fp16, token ids, begins and ends in ms."""

    features: np.ndarray
    tokens: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


class Shard:
    """A shard on disk, its features mapped into memory."""

    def __init__(self, folder: Path) -> None:
        index = np.load(folder / "index.npz")
        self.offsets = index["offsets"]
        self.starts = np.concatenate([[0], np.cumsum(index["counts"])])
        self.tokens, self.begins, self.ends = index["tokens"], index["begins"], index["ends"]
        rows = int(self.offsets[-1])
        self.features = np.memmap(folder / "features.f16", np.float16, "r", shape=(rows, MELS))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def frames(self, index: int) -> int:
        return int(self.offsets[index + 1] - self.offsets[index])

    def __getitem__(self, index: int) -> Item:
        rows = slice(self.offsets[index], self.offsets[index + 1])
        span = slice(self.starts[index], self.starts[index + 1])
        return Item(self.features[rows], self.tokens[span], self.begins[span], self.ends[span])

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))


def statistics(shards: list[Shard], sample: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each mel bin over some recordings."""
    rng = np.random.default_rng(SEED)
    rows = []
    for shard in shards:
        for index in rng.choice(len(shard), min(sample, len(shard)), replace=False):
            rows.append(shard[int(index)].features[::4].astype(np.float32))
    stacked = np.concatenate(rows)
    return stacked.mean(0), stacked.std(0)
