"""Recordings to text through the engine in this process, without a socket."""

import asyncio
import sys
from pathlib import Path

from asr_server.asr.engine import Engine
from asr_server.asr.factory import build_engine
from asr_server.asr.types import Drained, StreamOptions
from asr_server.audio.decode import open_decoder
from asr_server.audio.units import SAMPLE_RATE, Samples
from asr_server.errors import AsrError
from asr_server.models.registry import Choice
from asr_server.settings import Settings
from asr_server.state.sentence import render

READ_BYTES = 64 * 1024
LEAD: Samples = 30 * SAMPLE_RATE
"""Audio that may wait inside the engine, so that a long recording is not held in memory."""


def transcribe_files(settings: Settings, choice: Choice, files: list[Path], *, times: bool) -> bool:
    """Print every file's sentences; whether all could be read."""
    return asyncio.run(_transcribe(settings, choice, files, times))


async def _transcribe(settings: Settings, choice: Choice, files: list[Path], times: bool) -> bool:
    engine = build_engine(settings, choice.path, choice.punctuation)
    await engine.start()
    fine = True
    try:
        for file in files:
            if len(files) > 1:
                print(f"{file}:")
            try:
                await _one(engine, settings, file, times)
            except (AsrError, OSError) as exc:
                print(f"{file}: {exc}", file=sys.stderr)
                fine = False
    finally:
        await engine.stop()
    return fine


async def _one(engine: Engine, settings: Settings, file: Path, times: bool) -> None:
    kind = file.suffix.lstrip(".").lower() or settings.default_format
    decoder = open_decoder(kind, settings.default_sample_rate)
    stream = engine.open(StreamOptions(interim=False))

    async def read() -> None:
        with file.open("rb") as recording:
            while data := recording.read(READ_BYTES):
                stream.push(decoder.feed(data))
                await stream.room(LEAD)
        stream.push(decoder.finish())
        stream.finish()

    reading = asyncio.create_task(read(), name=f"read {file.name}")
    try:
        while True:
            upcoming = asyncio.ensure_future(stream.next())
            await asyncio.wait({reading, upcoming}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and reading.exception():
                upcoming.cancel()
                await reading
            event = await upcoming
            if isinstance(event, Drained):
                break
            if event.final:
                shown = render(
                    event.tokens,
                    begin=event.begin,
                    end=event.end,
                    final=True,
                    itn=True,
                    punctuation=True,
                )
                print(f"{_clock(event.begin)}  {shown.text}" if times else shown.text)
    finally:
        reading.cancel()
        stream.close()


def _clock(position: Samples) -> str:
    seconds, rest = divmod(position, SAMPLE_RATE)
    return f"{seconds // 60:02}:{seconds % 60:02}.{rest * 100 // SAMPLE_RATE:02}"
