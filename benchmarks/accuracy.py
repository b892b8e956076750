"""Character error rate and timing of a model, streamed through the engine at full speed.

    python -m benchmarks.accuracy MODEL_DIR MANIFEST.jsonl...

A manifest has one JSON object a line: `file` (a WAV beside it), `text` (what was said, without
punctuation) and, if known, `characters` ([{char, begin_ms, end_ms}]) for the error of word times.
The demo model's own test sets come from `python -m tools.demo_model test-sets`.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jiwer
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from asr_server.asr.engine import Engine, EngineOptions
from asr_server.asr.scheduler import Policy
from asr_server.asr.types import Drained, Hypothesis, Pcm, StreamOptions
from asr_server.audio.decode import open_decoder
from asr_server.audio.units import SAMPLE_RATE, to_ms
from asr_server.text.tokens import Token

AT_ONCE = 16
"""Recordings recognised together."""


@dataclass(slots=True)
class Scores:
    """What came of one manifest."""

    errors: int = 0
    characters: int = 0
    wrong: int = 0
    recordings: int = 0
    seconds: float = 0.0
    time_errors_ms: list[float] = field(default_factory=list)
    bound_errors_ms: list[float] = field(default_factory=list)
    worst: list[tuple[int, str, str, str]] = field(default_factory=list)
    judged: list[tuple[float, bool]] = field(default_factory=list)
    """Every token's confidence and whether it was right."""

    @property
    def calibration_error(self) -> float:
        """Expected calibration error in ten bins: mean gap between confidence and accuracy."""
        gap = 0.0
        for tenth in range(10):
            inside = [j for j in self.judged if min(int(j[0] * 10), 9) == tenth]
            gap += abs(sum(confidence - right for confidence, right in inside))
        return gap / max(1, len(self.judged))


def read(path: Path) -> list[Pcm]:
    """A recording at 16 kHz, in pieces."""
    decoder = open_decoder("wav", SAMPLE_RATE)
    return [decoder.feed(path.read_bytes()), decoder.finish()]


async def recognise(engine: Engine, samples: list[Pcm]) -> tuple[list[Hypothesis], float]:
    """The finals of a recording and its length in seconds."""
    stream = engine.open(StreamOptions(interim=False, punctuate=False))
    for piece in samples:
        stream.push(piece)
    stream.finish()
    finals = []
    try:
        while not isinstance(event := await stream.next(), Drained):
            finals.append(event)
    finally:
        stream.close()
    return finals, sum(map(len, samples)) / SAMPLE_RATE


def score(
    scores: Scores, entry: dict[str, Any], finals: Sequence[Hypothesis], seconds: float
) -> None:
    """Add one recording."""
    tokens = [token for final in finals for token in final.tokens]
    heard = "".join(token.piece for token in tokens)
    measured = jiwer.process_characters(entry["text"], heard)
    errors = measured.substitutions + measured.deletions + measured.insertions
    scores.errors += errors
    scores.characters += len(entry["text"])
    scores.wrong += errors > 0
    scores.recordings += 1
    scores.seconds += seconds
    if errors:
        scores.worst.append((errors, entry["file"], entry["text"], heard))
    right = set[int]()
    for chunk in measured.alignments[0]:
        if chunk.type == "equal":
            right |= set(range(chunk.hyp_start_idx, chunk.hyp_end_idx))
    if all(len(token.piece) == 1 for token in tokens):
        scores.judged += [(token.confidence, n in right) for n, token in enumerate(tokens)]
    truth = entry.get("characters")
    if truth and heard == entry["text"]:
        scores.time_errors_ms += _time_errors(tokens, truth)
    if truth and len(finals) == 1:
        begin, end = to_ms(finals[0].begin), to_ms(finals[0].end or 0)
        scores.bound_errors_ms += [begin - truth[0]["begin_ms"], end - truth[-1]["end_ms"]]


def _time_errors(tokens: Sequence[Token], truth: Sequence[dict[str, Any]]) -> list[float]:
    return [
        abs(to_ms(place) - true[edge])
        for token, true in zip(tokens, truth, strict=True)
        for place, edge in ((token.begin, "begin_ms"), (token.end, "end_ms"))
    ]


async def measure(engine: Engine, folder: Path, entries: list[dict[str, Any]]) -> Scores:
    """Recognise and score every recording of a manifest."""
    scores = Scores()
    places = asyncio.Semaphore(AT_ONCE)

    async def one(entry: dict[str, Any]) -> tuple[dict[str, Any], list[Hypothesis], float]:
        async with places:
            return entry, *await recognise(engine, read(folder / entry["file"]))

    running = [asyncio.create_task(one(entry)) for entry in entries]
    for done in track(asyncio.as_completed(running), "recordings", total=len(running)):
        entry, finals, seconds = await done
        score(scores, entry, finals, seconds)
    return scores


def report(name: str, scores: Scores, table: Table) -> None:
    """One row."""
    times = scores.time_errors_ms
    bounds = sorted(map(abs, scores.bound_errors_ms))
    table.add_row(
        name,
        str(scores.recordings),
        str(scores.characters),
        f"{scores.errors / max(1, scores.characters):.2%}",
        f"{scores.wrong / max(1, scores.recordings):.1%}",
        f"{statistics.median(times):.0f}" if times else "-",
        f"{statistics.quantiles(times, n=20)[-1]:.0f}" if len(times) > 20 else "-",
        f"{scores.calibration_error:.3f}",
        f"{statistics.median(bounds):.0f} / {bounds[int(0.95 * len(bounds))]:.0f}"
        if bounds
        else "-",
    )


def main(
    model: Annotated[Path, typer.Argument(help="A FunASR model directory.")],
    manifests: Annotated[list[Path], typer.Argument(help="JSONL manifests.")],
    dtype: str = "float32",
    chunk: Annotated[str, typer.Option(help="Stride and look-ahead in frames.")] = "10,5",
    worst: Annotated[int, typer.Option(help="How many wrong recordings to show a set.")] = 0,
) -> None:
    """Print a table of character error rates."""
    from asr_server.asr.backends.pytorch import PyTorchBackend, PyTorchOptions

    stride, look_ahead = map(int, chunk.split(","))
    options = PyTorchOptions(dtype=dtype, chunk_size=(0, stride, look_ahead), slots=AT_ONCE)
    table = Table(
        "set", "recordings", "characters", "CER", "wrong", "times ms", "p95", "ECE", "bounds ms"
    )
    console = Console()

    manifests_read = {
        manifest: [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
        for manifest in manifests
    }

    async def run() -> None:
        engine = Engine(
            lambda: PyTorchBackend.load(model, options, None),
            EngineOptions(max_streams=AT_ONCE, policy=Policy(max_batch=AT_ONCE)),
        )
        await engine.start()
        for manifest in manifests:
            began = time.perf_counter()
            entries = manifests_read[manifest]
            scores = await measure(engine, manifest.parent, entries)
            report(manifest.stem, scores, table)
            took = time.perf_counter() - began
            console.print(f"{manifest.stem}: {scores.seconds:.0f} s of audio in {took:.1f} s")
            for errors, file, said, heard in sorted(scores.worst, reverse=True)[:worst]:
                console.print(f"  {errors} {file}\n    said  {said}\n    heard {heard}")
        await engine.stop()

    asyncio.run(run())
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
