"""Recordings to transcripts: several at once, delivered in the order they were named."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from asr_client.errors import AsrError
from asr_client.subtitles import MIN_CAPTION_MS, clock, to_srt, to_vtt
from asr_client.types import Sentence
from asr_server.audio.units import SAMPLE_RATE
from asr_server.recordings.files import STDIN, RecordingError, open_recording
from asr_server.recordings.recognise import Request, recognise

Format = Literal["text", "srt", "vtt", "json"]
"""The format of a written transcript."""


@dataclass(slots=True, eq=False)
class Transcript:
    """One recording and its sentences so far."""

    path: Path
    duration_s: float | None = None
    tail_s: float | None = None
    """Time from the last audio that was sent to the last result."""
    sentences: list[Sentence] = field(default_factory=list)
    error: AsrError | RecordingError | None = None
    """Why the recording was not, or not completely, transcribed."""

    @property
    def name(self) -> str:
        """Return the recording's name for messages."""
        return "stdin" if self.path == STDIN else str(self.path)


async def transcribe(
    paths: Sequence[Path],
    request: Request,
    streams: int,
    on_progress: Callable[[Transcript, float | None], None],
    input_format: str = "wav",
    sample_rate: int = SAMPLE_RATE,
) -> AsyncGenerator[tuple[Transcript, Sentence | None], None]:
    """Yield sentences in the order of the recordings, and None after the last of each.

    `streams` recordings are recognised at once; format and Hz describe audio without a header.
    `on_progress` gets the share of a recording that was sent, and None at its end.
    """
    slots = asyncio.Semaphore(streams)

    clock = asyncio.get_running_loop().time

    async def work(transcript: Transcript, queue: "asyncio.Queue[Sentence | None]") -> None:
        sent_at = clock()

        def progress(share: float) -> None:
            nonlocal sent_at
            sent_at = clock()
            on_progress(transcript, share)

        try:
            async with slots:
                recording = await asyncio.to_thread(
                    open_recording, transcript.path, input_format, sample_rate
                )
                transcript.duration_s = recording.duration_s
                on_progress(transcript, 0.0)
                async for sentence in recognise(recording, request, progress):
                    queue.put_nowait(sentence)
                transcript.tail_s = clock() - sent_at
        except (AsrError, RecordingError) as exc:
            transcript.error = exc
        finally:
            queue.put_nowait(None)
            on_progress(transcript, None)

    queues: dict[Transcript, asyncio.Queue[Sentence | None]] = {
        Transcript(path): asyncio.Queue() for path in paths
    }
    working = [asyncio.create_task(work(*entry)) for entry in queues.items()]
    try:
        for (transcript, queue), task in zip(queues.items(), working, strict=True):
            while (sentence := await queue.get()) is not None:
                transcript.sentences.append(sentence)
                yield transcript, sentence
            await task
            yield transcript, None
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def formatted(transcript: Transcript, format: Format, *, times: bool = False) -> str:
    """Return the whole transcript."""
    match format:
        case "text":
            return "".join(f"{line(s, times=times)}\n" for s in transcript.sentences)
        case "srt":
            return to_srt(transcript.sentences, min_ms=MIN_CAPTION_MS)
        case "vtt":
            return to_vtt(transcript.sentences, min_ms=MIN_CAPTION_MS)
        case "json":
            seconds = transcript.duration_s
            content = {
                "file": transcript.name,
                "duration_ms": None if seconds is None else round(1000 * seconds),
                "sentences": [
                    {
                        "begin_ms": sentence.begin_ms,
                        "end_ms": sentence.end_ms,
                        "text": sentence.text,
                        "words": [
                            {key: value for key, value in asdict(word).items() if value is not None}
                            for word in sentence.words
                        ],
                    }
                    for sentence in transcript.sentences
                ],
            }
            return json.dumps(content, ensure_ascii=False) + "\n"


def line(sentence: Sentence, *, times: bool) -> str:
    """Return a sentence as one line."""
    return f"[{clock(sentence.begin_ms)}]  {sentence.text}" if times else sentence.text
