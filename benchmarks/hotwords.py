"""Measure how hotwords change recall and false insertions, on names absent from training data.

    python -m benchmarks.hotwords speak build/hotwords
    python -m benchmarks.hotwords measure MODEL_DIR build/hotwords/*.jsonl --plain SET.jsonl...
    python -m benchmarks.hotwords cost

`speak` puts invented names into held-out sentences of the demo grammar and synthesises them: the
grammar has the characters but not their combination, so the model often outputs homophones.
`measure` recognises them with a list of 500 names, the spoken ones among many others, and then
plain recordings (manifests as `asr-server evaluate` reads them) without any of the names. With
`--second-pass` its finals come from an offline model, else from streaming.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, NamedTuple

import jiwer
import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from asr_server.asr.engine import Engine
from asr_server.asr.hotword_compiler import compile_hotwords, prepare_vocabulary
from asr_server.asr.hotwords import HotwordSearch
from asr_server.asr.load import build_engine
from asr_server.asr.run.evidence import EvidenceGatherer
from asr_server.asr.types import StreamOptions
from asr_server.audio.units import Pcm
from asr_server.recognition import EndOfStream
from asr_server.settings import Settings
from asr_server.text.tokens import Token
from benchmarks.environment import describe
from tests.support.decoding import decode_wave

SEED = 7
LIST_SIZE = 500
STREAMS = 16
"""Recordings recognised at once."""
RECORDINGS = 150
SNR_DB = {"quiet": 25.0, "noise": 15.0}

app = typer.Typer(no_args_is_help=True, help=__doc__)
console = Console()


# Names -------------------------------------------------------------------------------------------


@app.command()
def speak(folder: Path) -> None:
    """Synthesise sentences with invented names in voices that no model was trained on."""
    from tools.demo_model import grammar, invented, test_sets
    from tools.demo_model.recordings import Conditions, Silences, noise_bank, record
    from tools.demo_model.synthesis import SAMPLE_RATE, Synthesiser
    from tools.demo_model.voices import UNSEEN_VOICES, held_out_voice

    people = grammar.people()
    held_out = test_sets.held_out_sentences()
    about = [s for s in held_out if sum(person in s.text for person in people) == 1]
    synthesiser = Synthesiser()
    noises = noise_bank(synthesiser, held_out, SEED)
    names = invented.names(SEED)
    for name, snr_db in SNR_DB.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        choose, rng = Random(f"{SEED} {name}"), np.random.default_rng(SEED)
        entries = []
        for number in track(range(RECORDINGS), name):
            sentence, new = choose.choice(about), next(names)
            old = next(person for person in people if person in sentence.text)
            punctuated = sentence.punctuated.replace(old, new)
            text = sentence.text.replace(old, new)
            made = record(
                synthesiser,
                [grammar.Sentence(punctuated, text, (), sentence.group)],
                held_out_voice(choose, UNSEEN_VOICES),
                Silences(0.3, 0.0, 0.5),
                Conditions(rng.uniform(-20, -2), snr_db, int(rng.integers(len(noises)))),
                noises,
                rng,
            )
            if made is None:
                raise RuntimeError(f"cannot synthesise {punctuated}")
            file = f"{name}/{number:03d}.wav"
            test_sets.write_wav(folder / file, made.pcm, SAMPLE_RATE)
            entries.append({"file": file, "text": text, "names": [new]})
        lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


# Recall and false insertions ---------------------------------------------------------------------


class Texts(NamedTuple):
    """Hold a recording's entry and its texts without and with the hotwords."""

    entry: dict[str, Any]
    without: str
    with_hotwords: str


def read(path: Path) -> list[Pcm]:
    """Return a recording at 16 kHz, in pieces."""
    return [decode_wave(path.read_bytes())]


async def recognise(engine: Engine, path: Path, hotwords: Sequence[tuple[str, int]]) -> str:
    """Return the text of a recording."""
    stream = engine.open(StreamOptions(interim=False, punctuate=False, hotwords=tuple(hotwords)))
    for piece in read(path):
        stream.push(piece)
    stream.finish()
    text = ""
    while not isinstance(event := await stream.next(), EndOfStream):
        text += "".join(token.piece for token in event.tokens)
    stream.close()
    return text


async def recognise_all(
    engine: Engine, manifest: Path, hotwords: Sequence[tuple[str, int]]
) -> list[Texts]:
    """Recognise every recording of a manifest without and with the hotwords."""
    free_streams = asyncio.Semaphore(STREAMS)

    async def one(entry: dict[str, Any]) -> Texts:
        async with free_streams:
            file = manifest.parent / entry["file"]
            return Texts(
                entry, await recognise(engine, file, ()), await recognise(engine, file, hotwords)
            )

    return await asyncio.gather(*map(one, entries_of(manifest)))


def entries_of(manifest: Path) -> list[dict[str, Any]]:
    """Read a JSONL manifest."""
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]


def error_rate(references: Sequence[str], texts: Sequence[str]) -> str:
    """Return the character error rate in percent."""
    return f"{jiwer.cer(list(references), list(texts)):.2%}"


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(help="A FunASR model directory.")],
    rare: Annotated[list[Path], typer.Argument(help="Manifests that `speak` wrote.")],
    plain: Annotated[list[Path], typer.Option(help="Manifests without the names.")] = [],  # noqa: B006
    weight: Annotated[list[int], typer.Option(help="The weight of every word.")] = [1, 3, 4, 5],  # noqa: B006
    second_pass: Annotated[Path | None, typer.Option(help="An offline model directory.")] = None,
) -> None:
    """Print the recall of the names, the error rates, and the false insertions."""
    from tools.demo_model import invented

    spoken = [
        name for manifest in rare for entry in entries_of(manifest) for name in entry["names"]
    ]
    others = (name for name in invented.names(SEED + 1) if name not in spoken)
    words = [*spoken, *(next(others) for _ in range(LIST_SIZE - len(spoken)))]
    columns = ("recall without", "recall", "CER without", "CER", "false insertions")
    table = Table("set", "weight", "names", *columns)

    async def run() -> None:
        settings = Settings(
            model=str(model), device="cpu", dtype="float32", max_tasks=STREAMS, max_delay_ms=0
        )
        engine = build_engine(settings, model, second_pass=second_pass)
        await engine.start()
        for manifest in (*rare, *plain):
            for value in weight:
                hotwords = [(word, value) for word in words]
                texts = await recognise_all(engine, manifest, hotwords)
                table.add_row(manifest.stem, str(value), *figures(texts, words))
        await engine.stop()

    asyncio.run(run())
    console.print(describe())
    console.print(table)


def figures(recordings: Sequence[Texts], words: Sequence[str]) -> list[str]:
    """Return the number of names, recall and error rate without and with, and false insertions."""
    names = [(one, name) for one in recordings for name in one.entry.get("names", ())]
    references = [one.entry["text"] for one in recordings]
    false = sum(
        word in one.with_hotwords and word not in one.entry["text"]
        for one in recordings
        for word in words
    )
    return [
        str(len(names)),
        _share(sum(name in one.without for one, name in names), len(names)),
        _share(sum(name in one.with_hotwords for one, name in names), len(names)),
        error_rate(references, [one.without for one in recordings]),
        error_rate(references, [one.with_hotwords for one in recordings]),
        f"{false} in {len(recordings)}",
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


# Cost --------------------------------------------------------------------------------------------


@app.command()
def cost(tokens: int = 4, sentence: int = 60, repeats: int = 200) -> None:
    """Time one chunk of one stream with a vocabulary of the production model's size."""
    torch.set_num_threads(1)
    rng = Random(SEED)
    characters = [bytes([0xA1 + row, 0xA1 + cell]) for row in range(15, 87) for cell in range(94)]
    hanzi = [code.decode("gb2312", errors="ignore") for code in characters]
    hanzi = [character for character in hanzi if character]
    vocabulary = (*hanzi, *(f"<{n}>" for n in range(8404 - len(hanzi))))
    hotwords = tuple(
        ("".join(rng.choices(hanzi, k=rng.choice((2, 3, 4)))), 4) for _ in range(LIST_SIZE)
    )

    began = time.perf_counter()
    prepare_vocabulary(vocabulary)
    prepared = time.perf_counter()
    words = compile_hotwords(hotwords, vocabulary)
    compiled = time.perf_counter()
    assert words is not None

    gather = EvidenceGatherer(torch.device("cpu"))
    scores = [torch.randn(tokens, len(vocabulary)) * 4 for _ in range(repeats)]
    pieces = [Token(hanzi[n], n, n + 1, 0.9) for n in range(sentence)]
    search, searched = HotwordSearch(words), 0
    on_worker, on_loop = [], []
    for logits in scores:
        t0 = time.perf_counter()
        (evidence,) = gather([logits], [words])
        t1 = time.perf_counter()
        assert evidence is not None
        search.accept(evidence, commit=True)
        search.rewrite(pieces)
        t2 = time.perf_counter()
        searched += tokens
        if searched >= sentence:
            search, searched = HotwordSearch(words), 0
        on_worker.append(t1 - t0)
        on_loop.append(t2 - t1)
    console.print(describe())
    console.print(
        f"{LIST_SIZE} words of {len(words.pieces)} characters, {len(vocabulary)} tokens:"
        f" vocabulary {1e3 * (prepared - began):.0f} ms once,"
        f" list {1e3 * (compiled - prepared):.1f} ms"
    )
    table = Table(f"a chunk of {tokens} tokens", "median ms", "p95 ms")
    for where, seconds in (("worker thread", on_worker), ("event loop", on_loop)):
        times = 1e3 * np.quantile(seconds, [0.5, 0.95])
        table.add_row(where, *(f"{time_:.2f}" for time_ in times))
    console.print(table)


if __name__ == "__main__":
    app()
