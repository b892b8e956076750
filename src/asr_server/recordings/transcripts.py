"""Recordings to transcripts: several at once, delivered in the order they were named."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from asr_client.connection import Connect
from asr_client.errors import AsrError
from asr_client.subtitles import clock, to_srt, to_vtt
from asr_client.types import Sentence, Word
from asr_server.audio.units import SAMPLE_RATE
from asr_server.recordings.files import STDIN, RecordingError, open_recording
from asr_server.recordings.recognise import Request, recognise

MIN_CAPTION_MS = 1000
"""The shortest time a subtitle is shown, where the next one leaves room."""


class Format(str, Enum):
    """The format of a written transcript."""

    text = "text"
    srt = "srt"
    vtt = "vtt"
    json = "json"

    @property
    def suffix(self) -> str:
        """Return the suffix of files in this format."""
        return ".txt" if self is Format.text else f".{self.value}"


@dataclass(slots=True)
class Transcript:
    """One recording and its sentences so far."""

    path: Path
    duration_s: float | None = None
    sentences: list[Sentence] = field(default_factory=list)
    error: str = ""
    """Why the recording was not, or not completely, transcribed."""

    @property
    def name(self) -> str:
        """Return the recording's name for messages."""
        return "stdin" if self.path == STDIN else str(self.path)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the caller does with the results."""

    sentence: Callable[[Transcript, Sentence], None] = lambda transcript, sentence: None
    finished: Callable[[Transcript], None] = lambda transcript: None
    """Both are called recording after recording, in their order."""
    progress: Callable[[Transcript, float | None], None] = lambda transcript, share: None
    """Called as audio is sent, with the share of the recording; with None at its end."""


async def transcribe(
    paths: Sequence[Path],
    connecting: AbstractAsyncContextManager[Connect],
    request: Request,
    streams: int,
    callbacks: Callbacks,
    input_format: str = "wav",
    sample_rate: int = SAMPLE_RATE,
) -> list[Transcript]:
    """Recognise `streams` recordings at once; format and Hz describe audio without a header."""
    slots = asyncio.Semaphore(streams)

    async def work(transcript: Transcript, queue: "asyncio.Queue[Sentence | None]") -> None:
        try:
            async with slots:
                recording = await asyncio.to_thread(
                    open_recording, transcript.path, input_format, sample_rate
                )
                transcript.duration_s = recording.duration_s
                callbacks.progress(transcript, 0.0)
                async for sentence in recognise(
                    recording, request, lambda share: callbacks.progress(transcript, share)
                ):
                    queue.put_nowait(sentence)
        except (AsrError, RecordingError) as exc:
            transcript.error = str(exc)
        finally:
            queue.put_nowait(None)
            callbacks.progress(transcript, None)

    async with connecting as connect:
        request = replace(request, connect=connect)
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
                    callbacks.sentence(transcript, sentence)
                await task
                callbacks.finished(transcript)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
    return transcripts


def formatted(transcript: Transcript, format: Format, *, times: bool = False) -> str:
    """Return the whole transcript."""
    match format:
        case Format.text:
            return "".join(f"{line(s, times=times)}\n" for s in transcript.sentences)
        case Format.srt:
            return to_srt(transcript.sentences, min_ms=MIN_CAPTION_MS)
        case Format.vtt:
            return to_vtt(transcript.sentences, min_ms=MIN_CAPTION_MS)
        case Format.json:
            return json.dumps(_object(transcript), ensure_ascii=False) + "\n"


def line(sentence: Sentence, *, times: bool) -> str:
    """Return a sentence as one line."""
    return f"[{clock(sentence.begin_ms)}]  {sentence.text}" if times else sentence.text


def _object(transcript: Transcript) -> dict[str, Any]:
    seconds = transcript.duration_s
    return {
        "file": transcript.name,
        "duration_ms": None if seconds is None else round(1000 * seconds),
        "sentences": [
            {
                "begin_ms": sentence.begin_ms,
                "end_ms": sentence.end_ms,
                "text": sentence.text,
                "words": [_word(word) for word in sentence.words],
            }
            for sentence in transcript.sentences
        ],
    }


def _word(word: Word) -> dict[str, Any]:
    return {name: value for name, value in asdict(word).items() if value is not None}
