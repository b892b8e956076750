"""Measure what a client sees of a sentence while it is spoken, in audio time.

    python -m benchmarks.interims MODEL_DIR MANIFEST.jsonl... [--punctuation DIR]

Recordings are pushed into a stream in frames of 100 ms, and after each frame all due work is done.
No clock is read, so the figures are those of an infinitely fast server and equal on every machine:
they show the delays of frames, VAD windows, chunks and rules. `benchmarks.latency` adds the
computation.

first text  from the frame with the first sample of speech to the first text
lag         from the end of a character to the frame after which it is shown
revised     share of shown characters that a later result of the same sentence replaced
final       from the frame with the last sample of speech to the final, minus max_sentence_silence
bounds      error of a sentence's begin and end
steps       chunks decoded per second of audio: whole chunks, and previews and speculations
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.stream import Stream
from asr_server.asr.types import Kind, StreamOptions
from asr_server.audio.endpointer import EndpointingOptions
from asr_server.audio.units import SAMPLE_RATE, Pcm, Samples, from_ms, to_ms
from asr_server.load.figures import revisions
from asr_server.load.task_record import Result
from asr_server.protocol.commands import Parameters
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.state.sentence import render
from benchmarks.environment import describe
from tests.support.backends import load_backend
from tests.support.decoding import decode_wave

FRAME: Samples = from_ms(100)
SILENCE: Samples = from_ms(2_000)
"""Silence appended to every recording, so that its last sentence ends by endpointing."""
SLOT = 1


@dataclass(slots=True)
class SetFigures:
    """Collect the figures of a set's recordings that have one sentence; milliseconds."""

    recordings: int = 0
    left_out: int = 0
    """Recordings that were not recognised as exactly one sentence."""
    seconds: float = 0.0
    first_text: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    shown: int = 0
    revised: int = 0
    steps: Counter[Kind] = field(default_factory=Counter)


def frame_end_ms(time_ms: float) -> float:
    """Return when the frame with this moment has arrived."""
    return 100 * (time_ms // 100 + 1)


async def follow(
    backend: PyTorchBackend, samples: Pcm, options: StreamOptions, steps: Counter[Kind]
) -> list[tuple[Samples, Hypothesis]]:
    """Return every hypothesis of a recording, with how much audio had arrived before it."""
    stream = Stream(
        1,
        SLOT,
        options,
        backend.geometry,
        previews=True,
        on_change=_ignore,
        on_close=_ignore,
        clock=lambda: 0.0,
    )
    hypotheses: list[tuple[Samples, Hypothesis]] = []
    arrived: Samples = 0

    async def read() -> None:
        while not isinstance(event := await stream.next(), EndOfStream):
            hypotheses.append((arrived, event))

    reading = asyncio.create_task(read())
    pcm = np.concatenate((samples, np.zeros(SILENCE, dtype=np.float32)))
    for begin in range(0, len(pcm), FRAME):
        stream.push(pcm[begin : begin + FRAME])
        arrived = begin + FRAME
        await _compute(backend, stream, steps)
    stream.finish()
    await _compute(backend, stream, steps)
    await reading
    return hypotheses


async def _compute(backend: PyTorchBackend, stream: Stream, steps: Counter[Kind]) -> None:
    """Do all work of a stream that is due."""
    while stream.windows_due or stream.chunk_due:
        if stream.windows_due:
            (probabilities,) = backend.detect([stream.cut_windows()])
            stream.accept_probabilities(probabilities)
        else:
            work = stream.cut_chunk()
            steps[work.kind] += 1
            (result,) = backend.decode([work])
            stream.accept_chunk(work, result)
        await asyncio.sleep(0)  # let `read` take the hypothesis before the next replaces it


def _ignore(_: Stream) -> None:
    pass


def note(
    figures: SetFigures,
    reference: Sequence[dict[str, Any]],
    hypotheses: Sequence[tuple[Samples, Hypothesis]],
    silence_ms: int,
) -> None:
    """Add the figures of one recording; `reference` has the times of its characters."""
    figures.recordings += 1
    results: list[Result] = []
    shown_at: list[float] = []  # of each token
    for arrived, hypothesis in hypotheses:
        words = render(hypothesis, Parameters())
        if not words:
            continue
        text = "".join(word.text + word.punctuation for word in words)
        arrived_ms = arrived * 1000 / SAMPLE_RATE
        results.append(Result(arrived_ms, text, hypothesis.final))
        last_ms = words[-1].end_time
        visible = [
            token for token in hypothesis.tokens if hypothesis.final or to_ms(token.end) <= last_ms
        ]
        shown_at += [arrived_ms] * (len(visible) - len(shown_at))
    shown, revised = revisions(results)
    figures.shown, figures.revised = figures.shown + shown, figures.revised + revised
    finals = [(arrived, hypothesis) for arrived, hypothesis in hypotheses if hypothesis.final]
    if len(finals) != 1 or not results:
        figures.left_out += 1
        return
    ((arrived, final),) = finals
    begin_ms, end_ms = reference[0]["begin_ms"], reference[-1]["end_ms"]
    figures.first_text.append(results[0].at - frame_end_ms(begin_ms))
    figures.final.append(arrived * 1000 / SAMPLE_RATE - frame_end_ms(end_ms) - silence_ms)
    assert final.end is not None
    figures.bounds += [
        abs(place * 1000 / SAMPLE_RATE - expected)
        for place, expected in ((final.begin, begin_ms), (final.end, end_ms))
    ]
    if len(reference) == len(final.tokens):
        figures.lag += [at - one["end_ms"] for at, one in zip(shown_at, reference, strict=True)]


def p50_p95(values: Iterable[float]) -> str:
    """Return median and 95th percentile."""
    return "{:.0f} / {:.0f}".format(*np.percentile(list(values), [50, 95]))


def row(name: str, figures: SetFigures) -> list[str]:
    """Return one set's row of the table."""
    ahead = sum(count for kind, count in figures.steps.items() if kind is not Kind.COMMIT)
    return [
        name,
        f"{figures.recordings} ({figures.left_out})",
        p50_p95(figures.first_text),
        p50_p95(figures.lag),
        f"{figures.revised / max(1, figures.shown):.1%}",
        p50_p95(figures.final),
        p50_p95(figures.bounds),
        f"{figures.steps[Kind.COMMIT] / figures.seconds:.1f} + {ahead / figures.seconds:.1f}",
    ]


def main(
    model: Annotated[Path, typer.Argument(help="A FunASR model directory.")],
    manifests: Annotated[list[Path], typer.Argument(help="JSONL with `characters`.")],
    punctuation: Annotated[Path | None, typer.Option(help="A punctuation model.")] = None,
    recordings: Annotated[int, typer.Option(help="Largest number of each set.")] = 100,
    silence_ms: Annotated[int, typer.Option(help="max_sentence_silence.")] = 800,
) -> None:
    """Print a table of medians and 95th percentiles in milliseconds."""
    backend = load_backend(model, punctuation, device="auto", max_tasks=1)
    options = StreamOptions(EndpointingOptions(max_sentence_silence_ms=silence_ms))
    table = Table(
        "set", "recordings", "first text", "lag", "revised", "final", "bounds", "steps a second"
    )
    for manifest in manifests:
        figures = SetFigures()
        lines = manifest.read_text("utf-8").splitlines()[:recordings]
        for line in track(lines, manifest.stem):
            entry = json.loads(line)
            samples = decode_wave((manifest.parent / entry["file"]).read_bytes())
            figures.seconds += (len(samples) + SILENCE) / SAMPLE_RATE
            hypotheses = asyncio.run(follow(backend, samples, options, figures.steps))
            note(figures, entry["characters"], hypotheses, silence_ms)
        table.add_row(*row(manifest.stem, figures))
    console = Console(width=120)
    console.print(describe())
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
