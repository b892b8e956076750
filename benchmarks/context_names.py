"""Measure what names in a task's context change: recall of those spoken, false insertions.

    python -m benchmarks.hotwords speak build/hotwords
    python -m benchmarks.context_names MODEL_DIR build/hotwords/*.jsonl

Every recording that `speak` made has a conversation of five messages as its context: sentences of
other recordings, each with a name. In the column "names" one of them is the name that is spoken
next; in "others" none is, so that everything that changes is wrong. With `--second-pass` finals
come from an offline model, else from streaming.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from asr_server.asr import hotword_compiler
from asr_server.asr.engine import Engine
from asr_server.asr.load import build_engine
from asr_server.settings import Settings
from asr_server.text.context import WEIGHT, context_hotwords
from asr_server.text.hotwords import Hotwords
from benchmarks.environment import describe
from benchmarks.hotwords import SEED, STREAMS, entries_of, error_rate, recognise

MESSAGES = 5

console = Console()


def conversation(entries: Sequence[dict[str, Any]], number: int, *, spoken: bool) -> list[str]:
    """Return the context of a recording, with or without the name that is spoken in it."""
    rng = Random(f"{SEED} {number}")
    own = entries[number]
    others = rng.sample([entry for entry in entries if entry is not own], MESSAGES)
    texts = [entry["text"] for entry in others]
    if spoken:
        texts[0] = texts[0].replace(others[0]["names"][0], own["names"][0])
    rng.shuffle(texts)
    return texts


async def measure(engine: Engine, manifest: Path, scale: float) -> list[str]:
    """Return the figures of one manifest with the bonus of every candidate times `scale`."""
    entries = entries_of(manifest)
    free_streams = asyncio.Semaphore(STREAMS)

    async def one(number: int, hotwords: Hotwords) -> str:
        async with free_streams:
            return await recognise(engine, manifest.parent / entries[number]["file"], hotwords)

    async def all_of(contexts: Sequence[Hotwords]) -> list[str]:
        return await asyncio.gather(*(one(n, hotwords) for n, hotwords in enumerate(contexts)))

    references = [entry["text"] for entry in entries]
    names = [entry["names"][0] for entry in entries]
    without = await all_of([()] * len(entries))
    figures = [
        manifest.stem,
        f"{scale:g}",
        _recall(names, without),
        error_rate(references, without),
    ]
    for spoken in (True, False):
        contexts = [
            context_hotwords(conversation(entries, number, spoken=spoken))
            for number in range(len(entries))
        ]
        texts = await all_of(contexts)
        false = sum(
            word in text and word not in reference and word not in plain
            for hotwords, text, reference, plain in zip(
                contexts, texts, references, without, strict=True
            )
            for word, _ in hotwords
        )
        found = sum(name in dict(hotwords) for name, hotwords in zip(names, contexts, strict=True))
        figures += [f"{found}"] if spoken else []
        figures += [_recall(names, texts)] if spoken else []
        figures += [error_rate(references, texts), f"{false} of {sum(map(len, contexts))}"]
    return figures


def _recall(names: Sequence[str], texts: Sequence[str]) -> str:
    found = sum(name in text for name, text in zip(names, texts, strict=True))
    return f"{found / len(names):.1%}"


def main(
    model: Annotated[Path, typer.Argument(help="A FunASR model directory.")],
    manifests: Annotated[list[Path], typer.Argument(help="Manifests that `speak` wrote.")],
    scale: Annotated[list[float], typer.Option(help="Factors of the bonus.")] = [1.0],  # noqa: B006
    second_pass: Annotated[Path | None, typer.Option(help="An offline model directory.")] = None,
) -> None:
    """Print recall, error rates and false insertions without and with a context."""
    table = Table(
        *("set", "bonus", "recall", "CER", "candidates", "recall: names", "CER: names"),
        *("false: names", "CER: others", "false: others"),
    )

    async def run() -> None:
        settings = Settings(
            model=str(model), device="cpu", dtype="float32", max_tasks=STREAMS, max_delay_ms=0
        )
        engine = build_engine(settings, model, second_pass=second_pass)
        await engine.start()
        bonuses = hotword_compiler.BONUSES
        for manifest in manifests:
            for factor in scale:
                hotword_compiler.BONUSES = tuple(factor * bonus for bonus in bonuses)
                hotword_compiler.compile_hotwords.cache_clear()
                row = await measure(engine, manifest, factor)
                console.print(json.dumps(row, ensure_ascii=False))
                table.add_row(*row)
        await engine.stop()

    asyncio.run(run())
    console.print(describe())
    console.print(f"weight {WEIGHT}, {MESSAGES} messages of context")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
