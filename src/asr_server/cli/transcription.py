"""Recordings to text, several at once, printed or written in the order they were named."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from asr_server.protocol.events import Sentence, Word
from asr_server.recordings.client import Connect, RecognitionError, Request, recognise
from asr_server.recordings.files import STDIN, RecordingError, open_recording
from asr_server.subtitles import clock, to_srt, to_vtt


class Format(str, Enum):
    """What a transcript is written as."""

    text = "text"
    srt = "srt"
    vtt = "vtt"
    json = "json"

    @property
    def suffix(self) -> str:
        """Of the files that hold it."""
        return ".txt" if self is Format.text else f".{self.value}"


@dataclass(frozen=True, slots=True)
class Input:
    """How recordings are read that do not tell themselves what they are."""

    format: str
    sample_rate: int


@dataclass(slots=True)
class Transcript:
    """One recording on its way."""

    path: Path
    duration_s: float | None = None
    sentences: list[Sentence] = field(default_factory=list)
    error: str = ""
    """Why it did not become text, or not all of it."""

    @property
    def name(self) -> str:
        """As a person knows it."""
        return "stdin" if self.path == STDIN else str(self.path)


class Watcher(Protocol):
    """Told how far recordings are."""

    def progress(self, transcript: Transcript, position: float) -> None:
        """A share of it, 0 to 1, has been read."""
        ...

    def done(self, transcript: Transcript) -> None:
        """It is over, one way or the other."""
        ...


async def transcribe(
    paths: Sequence[Path],
    connecting: AbstractAsyncContextManager[Connect],
    request: Request,
    given: Input,
    streams: int,
    watcher: Watcher,
    say: Callable[[Transcript, Sentence], None],
    finish: Callable[[Transcript], None],
) -> list[Transcript]:
    """Recognise `streams` recordings at once.

    `say` gets every sentence, `finish` every transcript, both recording after recording in their
    order, however the work is interleaved.
    """
    places = asyncio.Semaphore(streams)
    async with connecting as connect:

        async def work(transcript: Transcript, heard: asyncio.Queue[Sentence | None]) -> None:
            try:
                async with places:
                    async for sentence in _sentences(transcript, connect, request, given, watcher):
                        heard.put_nowait(sentence)
            except (RecognitionError, RecordingError) as exc:
                transcript.error = str(exc)
            finally:
                heard.put_nowait(None)
                watcher.done(transcript)

        transcripts = [Transcript(path) for path in paths]
        queues: list[asyncio.Queue[Sentence | None]] = [asyncio.Queue() for _ in paths]
        working = [
            asyncio.create_task(work(transcript, queue), name=f"transcribe {transcript.name}")
            for transcript, queue in zip(transcripts, queues, strict=True)
        ]
        try:
            for transcript, queue, task in zip(transcripts, queues, working, strict=True):
                while (sentence := await queue.get()) is not None:
                    transcript.sentences.append(sentence)
                    say(transcript, sentence)
                await task
                finish(transcript)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
    return transcripts


async def _sentences(
    transcript: Transcript, connect: Connect, request: Request, given: Input, watcher: Watcher
) -> AsyncIterator[Sentence]:
    recording = await asyncio.to_thread(
        open_recording, transcript.path, given.format, given.sample_rate
    )
    transcript.duration_s = recording.duration_s
    watcher.progress(transcript, 0.0)
    async for sentence in recognise(
        connect, recording, request, lambda position: watcher.progress(transcript, position)
    ):
        if sentence.text:
            yield sentence


# Formats -----------------------------------------------------------------------------------------


def formatted(transcript: Transcript, format: Format, *, times: bool = False) -> str:
    """The whole transcript."""
    match format:
        case Format.text:
            return "".join(f"{line(s, times=times)}\n" for s in transcript.sentences)
        case Format.srt:
            return to_srt(transcript.sentences)
        case Format.vtt:
            return to_vtt(transcript.sentences)
        case Format.json:
            return json.dumps(_object(transcript), ensure_ascii=False) + "\n"


def line(sentence: Sentence, *, times: bool) -> str:
    """A sentence in a line of its own."""
    return f"[{clock(sentence.begin_time)}]  {sentence.text}" if times else sentence.text


def _object(transcript: Transcript) -> dict[str, Any]:
    seconds = transcript.duration_s
    return {
        "file": transcript.name,
        "duration_ms": None if seconds is None else round(1000 * seconds),
        "sentences": [
            {
                "begin_ms": sentence.begin_time,
                "end_ms": sentence.end_time,
                "text": sentence.text,
                "words": [_word(word) for word in sentence.words],
            }
            for sentence in transcript.sentences
        ],
    }


def _word(word: Word) -> dict[str, Any]:
    told: dict[str, Any] = {
        "begin_ms": word.begin_time,
        "end_ms": word.end_time,
        "text": word.text,
        "punctuation": word.punctuation,
    }
    if word.confidence is not None:
        told["confidence"] = word.confidence
    return told
