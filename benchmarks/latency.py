"""Latency as a client sees it: paced recordings over WebSocket against a running server.

    asr-server serve --model demo --port 8001 &
    python -m benchmarks.latency build/demo_model/test_sets/A.jsonl --url ws://127.0.0.1:8001/...

Every client sends 100 ms frames on an absolute schedule and stamps every event when it arrives.

first text  from the frame with the first sample of speech having been sent to the first text
final       from the last sample of speech having been sent to the final, the silence included
tail        from finish-task to task-finished
revised     share of shown characters that a later result of the same sentence replaced

Speech begins and ends where the manifest's `characters` say.
"""

import asyncio
import json
import statistics
import uuid
import wave
from dataclasses import dataclass, field
from itertools import cycle, islice
from os.path import commonprefix
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect

from benchmarks.environment import describe

FRAME_S = 0.1
SILENCE_AFTER_S = 2.0
"""Quiet that follows every recording, so that its last sentence ends by itself."""


@dataclass(slots=True)
class Latencies:
    """Seconds, of all clients."""

    first_text: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    tail: list[float] = field(default_factory=list)
    shown: int = 0
    revised: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Recording:
    """Sound and where its speech begins and ends, in seconds."""

    pcm: bytes
    rate: int
    begin: float
    end: float


def read(folder: Path, entry: dict[str, Any]) -> Recording:
    """One line of a manifest."""
    with wave.open(str(folder / entry["file"])) as file:
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    characters = entry["characters"]
    begin, end = characters[0]["begin_ms"] / 1000, characters[-1]["end_ms"] / 1000
    return Recording(pcm, rate, begin, end)


class Client:
    """One task: sends a recording as a microphone would and notes when what arrives."""

    def __init__(self, url: str, recording: Recording, silence_ms: int, to: Latencies) -> None:
        self._url = url
        self._recording = recording
        self._silence_ms = silence_ms
        self._to = to
        self._began = 0.0
        self._shown = ""
        self._first_text: float | None = None
        self._finals: list[float] = []

    async def run(self) -> None:
        """Speak, listen, finish."""
        loop = asyncio.get_running_loop()
        async with connect(self._url, max_size=None, compression=None) as socket:
            await socket.send(self._command("run-task"))
            while json.loads(await socket.recv())["header"]["event"] != "task-started":
                pass
            self._began = loop.time()
            listening = asyncio.create_task(self._listen(socket))
            frame = int(self._recording.rate * FRAME_S) * 2
            quiet = bytes(int(self._recording.rate * SILENCE_AFTER_S) * 2)
            sound = self._recording.pcm + quiet
            for number, place in enumerate(range(0, len(sound), frame), start=1):
                await asyncio.sleep(max(0.0, self._began + number * FRAME_S - loop.time()))
                await socket.send(sound[place : place + frame])
            asked = loop.time()
            await socket.send(self._command("finish-task"))
            await listening
            self._to.tail.append(loop.time() - asked)
        self._note()

    async def _listen(self, socket: Any) -> None:
        loop = asyncio.get_running_loop()
        async for text in socket:
            message = json.loads(text)
            event = message["header"]["event"]
            if event == "task-failed":
                raise RuntimeError(message["header"]["error_code"])
            if event == "task-finished":
                return
            self._hear(message["payload"]["output"]["sentence"], loop.time() - self._began)

    def _hear(self, sentence: dict[str, Any], now: float) -> None:
        text = sentence["text"]
        if text and self._first_text is None:
            self._first_text = now
        kept = len(commonprefix([self._shown, text]))
        self._to.revised += len(self._shown) - kept
        self._to.shown += len(text) - kept
        self._shown = text
        if sentence["sentence_end"]:
            self._shown = ""
            self._finals.append(now)

    def _note(self) -> None:
        sent = FRAME_S * (1 + self._recording.begin // FRAME_S)
        if self._first_text is not None:
            self._to.first_text.append(self._first_text - sent)
        if self._finals:
            self._to.final.append(self._finals[-1] - FRAME_S * (1 + self._recording.end // FRAME_S))

    def _command(self, action: str) -> str:
        header = {"action": action, "task_id": self._task_id, "streaming": "duplex"}
        parameters = {
            "format": "pcm",
            "sample_rate": self._recording.rate,
            "max_sentence_silence": self._silence_ms,
        }
        payload: dict[str, Any] = {"input": {}}
        if action == "run-task":
            payload |= {
                "task_group": "audio",
                "task": "asr",
                "function": "recognition",
                "model": "paraformer-realtime-v2",
                "parameters": parameters,
            }
        return json.dumps({"header": header, "payload": payload})

    @property
    def _task_id(self) -> str:
        return uuid.uuid5(uuid.NAMESPACE_URL, str(id(self))).hex


async def load(
    url: str, recordings: list[Recording], streams: int, tasks: int, silence_ms: int
) -> Latencies:
    """`tasks` tasks, at most `streams` of them at once, each starting when a place is free."""
    to = Latencies()
    places = asyncio.Semaphore(streams)

    async def one(number: int, recording: Recording) -> None:
        await asyncio.sleep(min(number, streams) * 0.137)  # microphones do not start together
        async with places:
            try:
                await Client(url, recording, silence_ms, to).run()
            except (OSError, RuntimeError):
                to.errors += 1

    chosen = islice(cycle(recordings), tasks)
    await asyncio.gather(*(one(number, recording) for number, recording in enumerate(chosen)))
    return to


def row(name: str, seconds: list[float]) -> list[str]:
    """p50, p95, p99 in milliseconds."""
    if len(seconds) < 2:
        return [name, "-", "-", "-"]
    cuts = statistics.quantiles(seconds, n=100)
    return [name, *(f"{1000 * cuts[p - 1]:.0f}" for p in (50, 95, 99))]


def main(
    manifest: Annotated[Path, typer.Argument(help="JSONL with `characters`.")],
    url: str = "ws://127.0.0.1:8000/api-ws/v1/inference",
    streams: Annotated[int, typer.Option(help="Clients at once.")] = 4,
    tasks: Annotated[int, typer.Option(help="Recordings to send.")] = 24,
    silence_ms: Annotated[int, typer.Option(help="max_sentence_silence.")] = 800,
) -> None:
    """Measure and print percentiles."""
    lines = manifest.read_text("utf-8").splitlines()
    recordings = [read(manifest.parent, json.loads(line)) for line in lines[:tasks]]
    to = asyncio.run(load(url, recordings, streams, tasks, silence_ms))
    console = Console(width=110)
    console.print(
        f"{streams} clients at once, {tasks} tasks, silence {silence_ms} ms; {describe()}"
    )
    table = Table("ms", "p50", "p95", "p99")
    table.add_row(*row("first text", to.first_text))
    table.add_row(*row("final", to.final))
    table.add_row(*row("final beyond the silence", [s - silence_ms / 1000 for s in to.final]))
    table.add_row(*row("tail", to.tail))
    console.print(table)
    share = to.revised / max(1, to.shown)
    console.print(f"revised {share:.1%} of {to.shown} shown characters; {to.errors} errors")


if __name__ == "__main__":
    typer.run(main)
