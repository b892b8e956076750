"""What a client sees of a sentence while it is said, in the time of the audio.

    python -m benchmarks.interims MODEL_DIR MANIFEST.jsonl... [--punctuation DIR]

Recordings go into a stream in frames of 100 ms, and after each frame everything is computed that
can be. No clock is read, so the figures are those of a server that takes no time, the same on every
machine however busy: what is left are frames, windows, chunks and rules. `benchmarks.latency` adds
the computing.

first text  from the frame with the first sample of speech to the first text
lag         from the end of a character to the frame after which it is shown
revised     share of shown characters that a later result of the same sentence replaced
final       from the frame with the last sample of speech to the final, less the silence asked for
bounds      how far a sentence's begin and end are from the truth
steps       chunks computed for a second of audio: whole ones, and looks ahead
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

from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions
from asr_server.asr.stream import Stream
from asr_server.asr.types import Kind, Pcm, Step, StreamOptions
from asr_server.audio.decode import open_decoder
from asr_server.audio.endpoint import EndpointOptions
from asr_server.audio.units import SAMPLE_RATE, Samples, from_ms, to_ms
from asr_server.load.account import Shown
from asr_server.load.figures import revisions
from asr_server.protocol.commands import Parameters
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.state.sentence import render
from benchmarks.environment import describe

FRAME: Samples = from_ms(100)
SILENCE: Samples = from_ms(2_000)
"""Quiet that follows every recording, so that its last sentence ends by itself."""
PREVIEW: Samples = from_ms(200)


@dataclass(slots=True)
class Seen:
    """Of all recordings of a set with one sentence; milliseconds."""

    recordings: int = 0
    left_out: int = 0
    """Recordings that did not become exactly one sentence."""
    seconds: float = 0.0
    first_text: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    shown: int = 0
    revised: int = 0
    steps: Counter[Kind] = field(default_factory=Counter)


def frame_end_ms(time_ms: float) -> float:
    """When the frame that holds this moment has arrived."""
    return 100 * (time_ms // 100 + 1)


async def follow(
    backend: PyTorchBackend, number: int, samples: Pcm, options: StreamOptions, steps: Counter[Kind]
) -> list[tuple[Samples, Hypothesis]]:
    """Everything heard, with how much audio had arrived."""
    stream = Stream(
        number, options, backend.geometry, PREVIEW, on_change=_nothing, on_close=_nothing
    )
    heard: list[tuple[Samples, Hypothesis]] = []
    arrived: Samples = 0

    async def listen() -> None:
        while not isinstance(event := await stream.next(), EndOfStream):
            heard.append((arrived, event))

    listening = asyncio.create_task(listen())
    backend.step(Step(opened=(number,)))
    sound = np.concatenate((samples, np.zeros(SILENCE, dtype=np.float32)))
    for begin in range(0, len(sound), FRAME):
        stream.push(sound[begin : begin + FRAME])
        arrived = begin + FRAME
        await _compute(backend, stream, steps)
    stream.finish()
    await _compute(backend, stream, steps)
    await listening
    backend.step(Step(closed=(number,)))
    return heard


async def _compute(backend: PyTorchBackend, stream: Stream, steps: Counter[Kind]) -> None:
    while stream.judge_due or stream.chunk_due:
        if stream.judge_due:
            result = backend.step(Step(judge=(stream.cut_judge(),)))
            stream.accept_probabilities(result.probabilities[0])
        else:
            work = stream.cut_chunk()
            steps[work.kind] += 1
            stream.accept_chunk(work, backend.step(Step(chunks=(work,))).heard[0])
        await asyncio.sleep(0)  # let it be read before the next replaces it


def _nothing(_: Stream) -> None:
    pass


def note(
    seen: Seen,
    truth: Sequence[dict[str, Any]],
    heard: Sequence[tuple[Samples, Hypothesis]],
    silence_ms: int,
) -> None:
    """Add what was heard of one recording."""
    seen.recordings += 1
    texts: list[Shown] = []
    shown_at: list[float] = []  # of each token
    for arrived, hypothesis in heard:
        words = render(hypothesis, Parameters())
        if not words:
            continue
        text = "".join(word.text + word.punctuation for word in words)
        arrived_ms = arrived * 1000 / SAMPLE_RATE
        texts.append(Shown(arrived_ms, len(seen.final), text, hypothesis.final))
        last_ms = words[-1].end_time
        visible = [
            token for token in hypothesis.tokens if hypothesis.final or to_ms(token.end) <= last_ms
        ]
        shown_at += [arrived_ms] * (len(visible) - len(shown_at))
    shown, revised = revisions(texts)
    seen.shown, seen.revised = seen.shown + shown, seen.revised + revised
    finals = [(arrived, hypothesis) for arrived, hypothesis in heard if hypothesis.final]
    if len(finals) != 1 or not texts:
        seen.left_out += 1
        return
    ((arrived, final),) = finals
    begin_ms, end_ms = truth[0]["begin_ms"], truth[-1]["end_ms"]
    seen.first_text.append(texts[0].at - frame_end_ms(begin_ms))
    seen.final.append(arrived * 1000 / SAMPLE_RATE - frame_end_ms(end_ms) - silence_ms)
    assert final.end is not None
    seen.bounds += [
        abs(place * 1000 / SAMPLE_RATE - true)
        for place, true in ((final.begin, begin_ms), (final.end, end_ms))
    ]
    if len(truth) == len(final.tokens):
        seen.lag += [at - one["end_ms"] for at, one in zip(shown_at, truth, strict=True)]


def p50_p95(values: Iterable[float]) -> str:
    return "{:.0f} / {:.0f}".format(*np.percentile(list(values), [50, 95]))


def row(name: str, seen: Seen) -> list[str]:
    """One set."""
    looks = sum(count for kind, count in seen.steps.items() if kind is not Kind.COMMIT)
    return [
        name,
        f"{seen.recordings} ({seen.left_out})",
        p50_p95(seen.first_text),
        p50_p95(seen.lag),
        f"{seen.revised / max(1, seen.shown):.1%}",
        p50_p95(seen.final),
        p50_p95(seen.bounds),
        f"{seen.steps[Kind.COMMIT] / seen.seconds:.1f} + {looks / seen.seconds:.1f}",
    ]


def main(
    model: Annotated[Path, typer.Argument(help="A FunASR model directory.")],
    manifests: Annotated[list[Path], typer.Argument(help="JSONL with `characters`.")],
    punctuation: Annotated[Path | None, typer.Option(help="A punctuation model.")] = None,
    recordings: Annotated[int, typer.Option(help="At most, of each set.")] = 100,
    silence_ms: Annotated[int, typer.Option(help="max_sentence_silence.")] = 800,
) -> None:
    """Print a table, medians and 95th percentiles in milliseconds."""
    backend = PyTorchBackend.load(model, PyTorchOptions(dtype="float32", slots=1), punctuation)
    options = StreamOptions(EndpointOptions(max_sentence_silence_ms=silence_ms))
    table = Table(
        "set", "recordings", "first text", "lag", "revised", "final", "bounds", "steps a second"
    )
    for manifest in manifests:
        seen = Seen()
        lines = manifest.read_text("utf-8").splitlines()[:recordings]
        for number, line in enumerate(track(lines, manifest.stem), start=1):
            entry = json.loads(line)
            decoder = open_decoder("wav", SAMPLE_RATE)
            data = (manifest.parent / entry["file"]).read_bytes()
            samples = np.concatenate((decoder.feed(data), decoder.finish()))
            seen.seconds += (len(samples) + SILENCE) / SAMPLE_RATE
            heard = asyncio.run(follow(backend, number, samples, options, seen.steps))
            note(seen, entry["characters"], heard, silence_ms)
        table.add_row(*row(manifest.stem, seen))
    console = Console(width=120)
    console.print(describe())
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
