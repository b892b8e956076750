"""Real-time speech recognition over DashScope's WebSocket protocol, in one file.

    async with AsrClient("ws://127.0.0.1:8000") as asr:
        async for sentence in asr.transcribe("meeting.wav"):
            print(sentence.text)

Audio is kept until a final sentence covers it, so a lost connection costs time and never words:
the stream reconnects, sends again what was not final yet, and shifts the times of the new task.
All times are integer milliseconds from the first sample of the stream.
Needs only `websockets`; `sounddevice` for the microphone and `rich` for live text are optional.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import collections
import contextlib
import importlib
import io
import json
import math
import os
import random
import signal
import sys
import threading
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import asdict, dataclass, field
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

__version__ = "0.1.0"
__all__ = [
    "AsrClient",
    "AsrError",
    "Caption",
    "Event",
    "Failed",
    "Final",
    "Finished",
    "Interim",
    "Level",
    "Microphone",
    "MicrophoneUnavailable",
    "Parameters",
    "Reconnecting",
    "Retry",
    "Sentence",
    "ServerAway",
    "ServerBusy",
    "Started",
    "Stream",
    "StreamClosed",
    "SyncAsrClient",
    "TaskFailed",
    "Unauthorized",
    "Word",
    "captions",
    "to_json",
    "to_srt",
    "to_txt",
    "to_vtt",
    "transcribe",
]

DEFAULT_URL = "ws://127.0.0.1:8000"
DEFAULT_MODEL = "paraformer-realtime-v2"
ENDPOINT = "/api-ws/v1/inference"
FRAME_MS = 100
MAX_UNSENT_S = 60  # push() waits beyond this: a minute rides out a restart of the server
MAX_KEPT_S = 600  # audio kept for a resume; only silence or a very late server can reach it
MAX_KEPT_ENCODED = 64 << 20  # bytes; a longer compressed stream cannot be resumed
GOOD_WHILE_S = 10  # a task that lived this long was no failed attempt
ENCODED_FRAME = 4096  # bytes of a compressed file in one message

T = TypeVar("T")


# ---------------------------------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Word:
    """A word, when it was said, and the punctuation that follows it."""

    begin_ms: int
    end_ms: int
    text: str
    punctuation: str = ""
    confidence: float | None = None  # 0..1, only where the server was asked for it


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence; an interim is replaced by the next of the same `index`, never appended to."""

    index: int  # counts from 0 over the whole stream, also across reconnections
    begin_ms: int
    end_ms: int | None  # None while the sentence is open
    text: str
    words: tuple[Word, ...] = ()
    is_final: bool = False
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Caption:
    """A piece of a sentence that is short enough for a subtitle."""

    begin_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Started:
    """The server accepted the task; `resumed` counts the reconnections so far."""

    task_id: str
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class Interim:
    """The open sentence as it is heard now."""

    sentence: Sentence


@dataclass(frozen=True, slots=True)
class Final:
    """A sentence that will not change any more."""

    sentence: Sentence


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything sent has been recognised."""

    duration_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream gave up; the iterator raises `error` next."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Level:
    """How loud one frame was, in dB below full scale."""

    rms_db: float
    peak_db: float


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection was lost; the next attempt comes in `delay_s`."""

    attempt: int
    delay_s: float
    error: Exception


Event = Started | Interim | Final | Finished | Failed | Level | Reconnecting


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a task asks of the recogniser, in the names of the wire; None means the server's own.

    `sample_rate` describes raw PCM that is pushed or read; a WAV file states its own.
    """

    sample_rate: int = 16000
    format: str = "pcm"
    max_sentence_silence: int | None = None
    """Milliseconds of silence that end a sentence, 200 to 6000."""
    punctuation_prediction_enabled: bool | None = None
    inverse_text_normalization_enabled: bool | None = None
    disfluency_removal_enabled: bool | None = None
    semantic_punctuation_enabled: bool | None = None
    multi_threshold_mode_enabled: bool | None = None
    language_hints: tuple[str, ...] | None = None
    vocabulary_id: str | None = None
    vocabulary: Mapping[str, int] | None = None
    """Hotwords with weights 1 to 5, or 50."""
    word_confidence_enabled: bool | None = None
    heartbeat: bool = True
    """Keeps the task alive through minutes of silence."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Anything else to put into the request."""

    def on_wire(self, audio_format: str, sample_rate: int) -> dict[str, Any]:
        """The request's `parameters` for this kind of audio."""
        asked = {
            name: value
            for name in self.__slots__
            if name != "extra" and (value := getattr(self, name)) is not None
        }
        return {**asked, **self.extra, "format": audio_format, "sample_rate": sample_rate}


@dataclass(frozen=True, slots=True)
class Retry:
    """When and how often a lost connection is tried again."""

    attempts: int = 8
    """In a row without any progress, once the stream has started."""
    initial_attempts: int = 0
    """Before the stream has started: a server that is away is reported at once."""
    first_delay_s: float = 0.25
    max_delay_s: float = 8.0

    def delay_s(self, attempt: int) -> float:
        """Doubles each time; half of it is random, so that clients do not come in step."""
        full: float = min(self.max_delay_s, self.first_delay_s * 2**attempt)
        return full * (0.5 + random.random() / 2)


# ---------------------------------------------------------------------------------------- errors


class AsrError(Exception):
    """Anything that keeps a stream from going on; `code` is the server's where it gave one."""

    retryable = False

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class ServerAway(AsrError):
    """The server cannot be reached, or went away in the middle."""

    retryable = True


class ServerBusy(AsrError):
    """The server is there but takes no more work now."""

    retryable = True


class Unauthorized(AsrError):
    """The API key is missing or refused."""


class TaskFailed(AsrError):
    """The server refused the task or gave it up; see `code`."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(f"{code}: {message}" if code else message, code)
        self.retryable = code.startswith(RETRYABLE_CODES) or self.is_idle_timeout

    @property
    def is_idle_timeout(self) -> bool:
        """Whether the server only tired of waiting for audio."""
        text = str(self).lower()
        return "request timeout" in text or "response timeout" in text


class MicrophoneUnavailable(AsrError):
    """No microphone, no permission, or no `sounddevice`."""


class StreamClosed(RuntimeError):
    """Audio was pushed after end_input() or after the end of the stream."""


RETRYABLE_CODES = ("InternalError", "SystemError", "ServiceUnavailable", "GatewayTimeout")


def _task_error(header: Mapping[str, Any]) -> AsrError:
    code = str(header.get("error_code") or "")
    message = str(header.get("error_message") or "the task failed")
    if code.startswith("Throttling"):
        return ServerBusy(message, code)
    if code == "InvalidApiKey":
        return Unauthorized(message, code)
    return TaskFailed(message, code)


def _connection_error(url: str, error: Exception) -> AsrError:
    """What went wrong before the WebSocket stood, in words a user can act on."""
    where = _without_key(url)
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in (401, 403):
            return Unauthorized(f"{where} refused the API key (HTTP {status})", "InvalidApiKey")
        if status in (429, 503):
            return ServerBusy(f"{where} is busy (HTTP {status})")
        away = ServerAway(f"{where} answered HTTP {status}; is this the address of the server?")
        away.retryable = status >= 500
        return away
    if isinstance(error, InvalidURI):
        wrong = ServerAway(f"{where} is not a WebSocket address")
        wrong.retryable = False
        return wrong
    reason = "no answer in time" if isinstance(error, asyncio.TimeoutError) else str(error)
    return ServerAway(f"cannot reach {where}: {reason}")


# ------------------------------------------------------------------------------------------ wire


def endpoint(url: str) -> str:
    """The WebSocket address: http becomes ws, and a bare host gets the protocol's path."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = ENDPOINT if parts.path in ("", "/") else parts.path
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def _without_key(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _command(action: str, task_id: str, payload: Mapping[str, Any]) -> str:
    header = {"action": action, "task_id": task_id, "streaming": "duplex"}
    return json.dumps({"header": header, "payload": payload}, ensure_ascii=False)


def _sentence(output: Mapping[str, Any], index: int, shift_ms: int) -> Sentence | None:
    """The sentence of a result, or None for a heartbeat; Gummy calls it `transcription`."""
    raw = output.get("sentence") or output.get("transcription")
    if not isinstance(raw, dict) or raw.get("heartbeat"):
        return None
    end = raw.get("end_time")
    final = raw.get("sentence_end") is True or ("sentence_end" not in raw and end is not None)
    begin_ms = shift_ms + int(raw.get("begin_time") or 0)
    words = tuple(_word(word, shift_ms) for word in raw.get("words") or ())
    if end is not None:
        end_ms = shift_ms + int(end)
    else:  # an example in DashScope's own documentation ends a sentence without an end_time
        end_ms = words[-1].end_ms if words else begin_ms
    return Sentence(
        index=index,
        begin_ms=begin_ms,
        end_ms=end_ms if final else None,
        text=str(raw.get("text") or ""),
        words=words,
        is_final=final,
        confidence=raw.get("confidence", _mean_confidence(words)),
    )


def _mean_confidence(words: Iterable[Word]) -> float | None:
    """Of the characters; None where the server gave none."""
    known = [(w.confidence, len(w.text)) for w in words if w.confidence is not None]
    length = sum(size for _, size in known)
    return sum(value * size for value, size in known) / length if length else None


def _word(raw: Mapping[str, Any], shift_ms: int) -> Word:
    begin = int(raw.get("begin_time") or 0)
    return Word(
        begin_ms=shift_ms + begin,
        end_ms=shift_ms + int(raw.get("end_time") or begin),
        text=str(raw.get("text") or ""),
        punctuation=str(raw.get("punctuation") or ""),
        confidence=raw.get("confidence"),
    )


# ----------------------------------------------------------------------------------------- audio


@dataclass(frozen=True, slots=True)
class _Audio:
    """Where audio comes from and what its bytes are."""

    blocks: Iterable[bytes] | AsyncIterable[bytes]
    format: str
    sample_rate: int
    live: bool = False

    @property
    def bytes_per_ms(self) -> float | None:
        """None for compressed audio, whose bytes have no fixed length in time."""
        return self.sample_rate * 2 / 1000 if self.format == "pcm" else None


MAGIC = (
    (b"RIFF", "wav"),
    (b"OggS", "opus"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
    (b"#!AMR", "amr"),
    (b"\x1a\x45\xdf\xa3", "webm"),
    (b"\xff\xf1", "aac"),
    (b"\xff\xf9", "aac"),
    (b"\xff\xfb", "mp3"),
    (b"\xff\xf3", "mp3"),
    (b"\xff\xf2", "mp3"),
)
SUFFIXES = {"pcm": "pcm", "raw": "pcm", "oga": "opus", "ogg": "opus", "spx": "speex", "mp4": "m4a"}


def _kind(head: bytes, suffix: str, fallback: str) -> str:
    """The format by the file's first bytes, else by its name."""
    if suffix in ("pcm", "raw") and not head.startswith(b"RIFF"):
        return "pcm"
    if head[4:8] == b"ftyp":
        return "m4a"
    for magic, name in MAGIC:
        if head.startswith(magic):
            return "speex" if name == "opus" and suffix == "spx" else name
    return SUFFIXES.get(suffix, suffix) or fallback


def _open(source: Any, parameters: Parameters) -> _Audio:
    """A file, bytes, a generator or a microphone as blocks of bytes."""
    if isinstance(source, Microphone):
        return _Audio(source, "pcm", source.sample_rate, live=True)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _from_file(lambda: path.open("rb"), path.suffix.lower().lstrip("."), parameters)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return _from_file(lambda: io.BytesIO(data), "", parameters)
    if isinstance(source, (AsyncIterable, Iterable)):
        return _Audio(source, parameters.format, parameters.sample_rate)
    raise TypeError(f"cannot read audio from {type(source).__name__}")


def _from_file(open_file: Callable[[], BinaryIO], suffix: str, parameters: Parameters) -> _Audio:
    """16-bit WAV is read here, so that it can be paced and resumed; the rest goes as it is."""
    with open_file() as file:
        kind = _kind(file.read(16), suffix, parameters.format)
        file.seek(0)
        wav = _read_wav_header(file) if kind == "wav" else None
    if wav:
        return _Audio(_read_wav(open_file, wav), "pcm", wav.sample_rate)
    return _Audio(_read_blocks(open_file, 64 * 1024), kind, parameters.sample_rate)


@dataclass(frozen=True, slots=True)
class _Wav:
    channels: int
    sample_rate: int
    data_at: int  # where the samples begin
    data_bytes: int | None  # None where the header does not know, as in a live recording


def _read_wav_header(file: BinaryIO) -> _Wav | None:
    """None where only the server can decode it: not 16-bit PCM."""
    if file.read(12)[8:12] != b"WAVE":
        return None
    channels = rate = bits = code = 0
    while len(chunk := file.read(8)) == 8:
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            known = 0 < size < 0xFFFFFFFF
            usable = code in (1, 0xFFFE) and bits == 16 and channels and rate
            return _Wav(channels, rate, file.tell(), size if known else None) if usable else None
        body = file.read(size + size % 2)
        if name == b"fmt " and len(body) >= 16:
            code, channels = (int.from_bytes(body[i : i + 2], "little") for i in (0, 2))
            rate = int.from_bytes(body[4:8], "little")
            bits = int.from_bytes(body[14:16], "little")
    return None


def _read_wav(open_file: Callable[[], BinaryIO], wav: _Wav) -> Iterator[bytes]:
    frame = 2 * wav.channels
    blocks = _read_blocks(open_file, frame * wav.sample_rate, wav.data_at, wav.data_bytes)
    for block in blocks:
        whole = block[: len(block) // frame * frame]
        yield whole if wav.channels == 1 else _to_mono(whole, wav)


def _read_blocks(
    open_file: Callable[[], BinaryIO], size: int, start: int = 0, limit: int | None = None
) -> Iterator[bytes]:
    left = sys.maxsize if limit is None else limit
    with open_file() as file:
        file.seek(start)
        while block := file.read(min(size, left)):
            left -= len(block)
            yield block


def _to_mono(block: bytes, wav: _Wav) -> bytes:
    samples = _samples(block)
    tracks = [samples[channel :: wav.channels] for channel in range(wav.channels)]
    mixed = (sum(parts) // wav.channels for parts in zip(*tracks, strict=True))
    return _little_endian(array.array("h", mixed)).tobytes()


def _samples(pcm: bytes) -> array.array[int]:
    return _little_endian(array.array("h", pcm[: len(pcm) // 2 * 2]))


def _little_endian(samples: array.array[int]) -> array.array[int]:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _level(pcm: bytes) -> Level:
    samples = _samples(pcm)
    if not samples:
        return Level(-100.0, -100.0)
    power = sum(sample * sample for sample in samples) / len(samples)
    return Level(_db(math.sqrt(power)), _db(max(max(samples), -min(samples))))


def _db(amplitude: float) -> float:
    return max(-100.0, 20 * math.log10(amplitude / 32768)) if amplitude > 0 else -100.0


class Microphone:
    """The machine's microphone as 100 ms blocks of 16-bit PCM; `stop()` ends the audio.

    Raises MicrophoneUnavailable when iteration begins.
    """

    def __init__(self, device: int | str | None = None, sample_rate: int = 16000) -> None:
        self.device = device
        self.sample_rate = sample_rate
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Ends the audio; may be called from a signal handler."""
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._loop = asyncio.get_running_loop()
        with self._record(_sounddevice()):
            while (block := await self._queue.get()) is not None:
                yield block

    def _record(self, sounddevice: Any) -> Any:
        try:
            return sounddevice.RawInputStream(
                samplerate=self.sample_rate,
                blocksize=self.sample_rate * FRAME_MS // 1000,
                channels=1,
                dtype="int16",
                device=self.device,
                callback=self._hear,
            )
        except Exception as error:  # PortAudioError is not importable without the package
            raise MicrophoneUnavailable(f"cannot open the microphone: {error}") from error

    def _hear(self, block: Any, frames: int, time: Any, status: Any) -> None:
        """Called by PortAudio on its own thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, bytes(block))


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:  # OSError: PortAudio itself is missing
        raise MicrophoneUnavailable(
            f"the microphone needs the package `sounddevice` (pip install sounddevice): {error}"
        ) from error


class _Tape:
    """Audio from the last final on, addressed by its byte position in the stream."""

    def __init__(self) -> None:
        self.base = 0
        self._kept = bytearray()

    @property
    def end(self) -> int:
        return self.base + len(self._kept)

    def append(self, data: bytes) -> None:
        self._kept += data

    def read(self, position: int, size: int) -> bytes:
        start = position - self.base
        return bytes(self._kept[start : start + size])

    def forget_before(self, position: int) -> None:
        position = max(self.base, min(position, self.end))
        del self._kept[: position - self.base]
        self.base = position


# ---------------------------------------------------------------------------------------- stream


class Stream:
    """One recognition: push audio, iterate over events; made by `AsrClient.stream()`."""

    def __init__(self, client: AsrClient, audio_format: str, sample_rate: int, levels: bool):
        self._client = client
        self._format = audio_format
        self._rate = sample_rate
        self._levels = levels and audio_format == "pcm"
        self._pcm = audio_format == "pcm"
        self._bytes_per_ms = sample_rate * 2 / 1000
        self._frame = int(self._bytes_per_ms * FRAME_MS) // 2 * 2 if self._pcm else ENCODED_FRAME
        kept = int(MAX_KEPT_S * 1000 * self._bytes_per_ms)
        self._max_kept = kept if self._pcm else MAX_KEPT_ENCODED
        self._tape = _Tape()
        self._sent = 0  # position on the tape of the running task
        self._flush_at: int | None = None
        self._ended = False
        self._finals = 0
        self._covered_ms = 0  # the end of the last final
        self._sentence_open = False
        self._started = 0  # tasks the server accepted
        self._progress = False
        self._news = asyncio.Event()  # audio, a flush or the end came
        self._room = asyncio.Event()  # audio went out, or nothing ever will
        self._events: collections.deque[Event] = collections.deque()
        self._event_came = asyncio.Event()
        self._error: Exception | None = None
        self._tasks = [asyncio.create_task(self._run(), name="asr stream")]
        self._tasks[0].add_done_callback(self._settle)

    # what a user calls

    async def push(self, data: bytes) -> None:
        """Take audio of any length; waits while a minute of it is still unsent."""
        if self._ended or self._done:
            raise self._error or StreamClosed("the stream takes no more audio")
        if self._levels and data:
            self._emit(_level(data))
        self._tape.append(data)
        self._tape.forget_before(self._even(min(self._sent, self._tape.end - self._max_kept)))
        self._news.set()
        await self._wait_for_room()

    def flush(self) -> None:
        """Close the open sentence now, as when a push-to-talk key is released; more may follow."""
        if not self._pcm:
            raise ValueError(f"only PCM can be flushed, not {self._format}")
        self._flush_at = self._tape.end
        self._news.set()

    def end_input(self) -> None:
        """No more audio will come; the events end with `Finished`."""
        self._ended = True
        self._news.set()

    async def aclose(self) -> None:
        """Stop at once, whatever is still open."""
        self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._done:
                raise self._error or StopAsyncIteration
            self._event_came.clear()
            await self._event_came.wait()
        return self._events.popleft()

    async def sentences(self, interim: bool = False) -> AsyncIterator[Sentence]:
        """The final sentences in order; with `interim` also the open one, again and again."""
        async for event in self:
            if isinstance(event, Final) and event.sentence.text:
                yield event.sentence
            elif interim and isinstance(event, Interim):
                yield event.sentence

    # the life of a stream: one task after another until everything is recognised

    @property
    def _done(self) -> bool:
        return self._tasks[0].done()

    def _feed_from(self, audio: _Audio, pace: float | None) -> None:
        self._tasks.append(asyncio.create_task(self._pump(audio, pace), name="asr source"))

    async def _run(self) -> None:
        try:
            await self._recognise_everything()
            self._emit(Finished(round(self._tape.end / self._bytes_per_ms) if self._pcm else 0))
        except Exception as error:
            self._error = error
            self._emit(Failed(error))

    def _settle(self, task: asyncio.Task[None]) -> None:
        """Wake whoever waits for a stream that is over, however it ended."""
        self._client._streams.discard(self)
        self._room.set()
        self._event_came.set()

    async def _recognise_everything(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._progress = False
            begun = loop.time()
            try:
                await self._recognise_one_task()
            except AsrError as error:
                if self._progress or loop.time() - begun > GOOD_WHILE_S:
                    failures = 0
                self._check_retry(error, failures)
                await self._recover(error, failures)
                failures += 1
                continue
            failures = 0
            if self._ended and self._sent >= self._tape.end:
                return
            self._tape.forget_before(self._sent)
            await self._wait_for_audio()

    def _check_retry(self, error: AsrError, failures: int) -> None:
        retry = self._client.retry
        allowed = retry.attempts if self._started else retry.initial_attempts
        if not error.retryable or failures >= allowed:
            raise error
        if not self._pcm and self._tape.base > 0:
            raise error  # the head of a compressed stream is gone: no decoder could go on

    async def _recover(self, error: AsrError, failures: int) -> None:
        if isinstance(error, TaskFailed) and error.is_idle_timeout and self._pcm:
            if self._sentence_open:  # the speaker paused in mid-sentence: close it
                self._flush_at = self._tape.end
            else:
                await self._rest()
            return
        delay = self._client.retry.delay_s(failures)
        self._sent = self._tape.base
        self._emit(Reconnecting(failures + 1, delay, error))
        await asyncio.sleep(delay)

    async def _rest(self) -> None:
        """The server heard only silence: forget it, and come back when there is more."""
        self._tape.forget_before(self._even(self._sent - int(1000 * self._bytes_per_ms)))
        await self._wait_for_audio()

    async def _recognise_one_task(self) -> None:
        connection = await self._client._connection()
        task_id = uuid.uuid4().hex
        base = self._sent = self._tape.base
        try:
            await self._begin(connection, task_id)
            sender = asyncio.create_task(self._send(connection, task_id), name="asr sender")
            try:
                await self._receive(connection, base)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        except ConnectionClosed as error:
            raise ServerAway(f"the connection was lost: {error}") from error
        except BaseException:
            await connection.close()
            raise
        await self._client._keep(connection)

    async def _begin(self, connection: ClientConnection, task_id: str) -> None:
        payload = {
            "task_group": "audio",
            "task": "asr",
            "function": "recognition",
            "model": self._client.model,
            "parameters": self._client.parameters.on_wire(self._format, self._rate),
            "input": {},
        }
        await self._client._send_text(connection, _command("run-task", task_id, payload))
        try:
            message = await _within(
                self._client.open_timeout_s, self._client._next_message(connection)
            )
        except asyncio.TimeoutError as error:
            raise ServerAway("the server did not answer run-task in time") from error
        header = message.get("header") or {}
        if header.get("event") == "task-failed":
            raise _task_error(header)
        self._emit(Started(task_id, self._started))
        self._started += 1

    async def _send(self, connection: ClientConnection, task_id: str) -> None:
        """Frames from the tape until the end or a flush, then finish-task."""
        while not self._at_boundary():
            while frame := self._next_frame():
                await connection.send(frame)
                self._client._log_wire("out", frame)
                self._sent += len(frame)
                self._room.set()
            if not self._at_boundary():
                self._news.clear()
                await self._news.wait()
        self._flush_at = None
        await self._client._send_text(connection, _command("finish-task", task_id, {"input": {}}))

    def _at_boundary(self) -> bool:
        if self._flush_at is not None and self._sent >= self._flush_at:
            return True
        return self._ended and self._sent >= self._tape.end

    def _next_frame(self) -> bytes:
        """A whole frame, or what is left before a boundary."""
        boundary = self._tape.end if self._flush_at is None else self._flush_at
        size = min(self._frame, boundary - self._sent)
        complete = size == self._frame or self._ended or self._flush_at is not None
        return self._tape.read(self._sent, size) if complete else b""

    async def _receive(self, connection: ClientConnection, base: int) -> None:
        shift_ms = round(base / self._bytes_per_ms) if self._pcm else 0
        while True:
            message = await self._client._next_message(connection)
            header = message.get("header") or {}
            event = header.get("event")
            if event == "task-finished":
                return
            if event == "task-failed":
                raise _task_error(header)
            if event == "result-generated":
                output = (message.get("payload") or {}).get("output") or {}
                if sentence := _sentence(output, self._finals, shift_ms):
                    self._hear(sentence)

    def _hear(self, sentence: Sentence) -> None:
        self._progress = True
        if not self._pcm and sentence.begin_ms < self._covered_ms:
            return  # a compressed file began anew after a reconnection: this was heard already
        if not sentence.is_final:
            self._sentence_open = True
            self._emit(Interim(sentence))
            return
        self._sentence_open = False
        self._finals += 1
        self._covered_ms = max(self._covered_ms, sentence.end_ms or 0)
        if self._pcm:
            covered = int(self._covered_ms * self._bytes_per_ms)
            self._tape.forget_before(self._even(min(self._sent, covered)))
        self._emit(Final(sentence))

    # helpers

    def _emit(self, event: Event) -> None:
        """An unread interim or level gives way to the newer one; nothing else is ever dropped."""
        if isinstance(event, (Interim, Level)):
            for at, unread in enumerate(self._events):
                if type(unread) is type(event):
                    del self._events[at]
                    break
        self._events.append(event)
        self._event_came.set()

    @staticmethod
    def _even(position: int) -> int:
        """A byte position at which a sample begins."""
        return position // 2 * 2

    async def _wait_for_room(self) -> None:
        limit = MAX_UNSENT_S * 1000 * self._bytes_per_ms
        while not self._done and self._tape.end - self._sent > limit:
            self._room.clear()
            await self._room.wait()

    async def _wait_for_audio(self) -> None:
        """Until there is something to send, or the end: a task that idles costs the server."""
        while self._tape.end <= self._sent and not self._ended:
            self._news.clear()
            await self._news.wait()

    async def _pump(self, audio: _Audio, pace: float | None) -> None:
        try:
            async with contextlib.aclosing(_paced(audio, pace)) as frames:
                async for frame in frames:
                    await self.push(frame)
            self.end_input()
        except Exception as error:
            if not self._done:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """The source failed: say so to whoever iterates, and leave the server."""
        self._error = error
        self._emit(Failed(error))
        self._tasks[0].cancel()


async def _paced(audio: _Audio, pace: float | None) -> AsyncGenerator[bytes, None]:
    """The source's blocks, held back to `pace` times real time by an absolute schedule."""
    async with contextlib.aclosing(_blocks(audio.blocks)) as blocks:
        if not pace or audio.live:
            async for block in blocks:
                yield block
            return
        if audio.bytes_per_ms is None:
            raise ValueError(f"pacing needs PCM or 16-bit WAV, not {audio.format}")
        frame = int(audio.bytes_per_ms * FRAME_MS) // 2 * 2
        loop = asyncio.get_running_loop()
        start, sent_ms = loop.time(), 0.0
        async for block in blocks:
            for at in range(0, len(block), frame):
                piece = block[at : at + frame]
                sent_ms += len(piece) / audio.bytes_per_ms
                # A live source hands over a frame when it is over, not when it begins.
                await asyncio.sleep(start + sent_ms / 1000 / pace - loop.time())
                yield piece


async def _blocks(
    source: Iterable[bytes] | AsyncIterable[bytes],
) -> AsyncGenerator[bytes, None]:
    """Blocks of a source; a blocking one is read on a thread so that results keep flowing."""
    if isinstance(source, AsyncIterable):
        items = source.__aiter__()
        try:
            async for block in items:
                yield block
        finally:
            if close := getattr(items, "aclose", None):
                await close()
        return
    blocks = iter(source)
    while (block_or_end := await asyncio.to_thread(_next, blocks)) is not None:
        yield block_or_end


def _next(blocks: Iterator[bytes]) -> bytes | None:
    return next(blocks, None)


async def _within(seconds: float, awaitable: Awaitable[T]) -> T:
    """What it gives, or asyncio.TimeoutError.

    Before Python 3.12 `asyncio.wait_for` forgets a cancellation that comes together with the
    result (python/cpython#86296): a stream whose source had failed would have gone on for ever.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ---------------------------------------------------------------------------------------- client


class AsrClient:
    """A server to recognise speech with; keeps one idle connection for the next stream."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        model: str = DEFAULT_MODEL,
        parameters: Parameters | None = None,
        retry: Retry | None = None,
        open_timeout_s: float = 10.0,
        on_wire: Callable[[Literal["in", "out"], str | bytes], None] | None = None,
    ) -> None:
        """`on_wire` sees every message: for debugging, since it carries what was said."""
        self.url = endpoint(url)
        self.model = model
        self.parameters = parameters or Parameters()
        self.retry = retry or Retry()
        self.open_timeout_s = open_timeout_s
        self._api_key = api_key
        self._log_wire = on_wire or (lambda direction, message: None)
        self._idle: ClientConnection | None = None
        self._streams: set[Stream] = set()

    async def __aenter__(self) -> AsrClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every stream and the connection."""
        await asyncio.gather(*(stream.aclose() for stream in list(self._streams)))
        idle, self._idle = self._idle, None
        if idle is not None:
            await idle.close()

    def stream(
        self,
        *,
        format: str | None = None,
        sample_rate: int | None = None,
        levels: bool = False,
    ) -> Stream:
        """Begin a recognition that you push audio into; `levels` adds a Level for every push."""
        stream = Stream(
            self,
            format or self.parameters.format,
            sample_rate or self.parameters.sample_rate,
            levels,
        )
        self._streams.add(stream)
        return stream

    def open(self, source: Any, *, pace: float | None = None, levels: bool | None = None) -> Stream:
        """Begin a recognition of `source`; its events are those of `stream()`."""
        audio = _open(source, self.parameters)
        stream = self.stream(
            format=audio.format,
            sample_rate=audio.sample_rate,
            levels=audio.live if levels is None else levels,
        )
        stream._feed_from(audio, pace)
        return stream

    async def transcribe(
        self, source: Any, *, pace: float | None = None, interim: bool = False
    ) -> AsyncGenerator[Sentence, None]:
        """The sentences of a file, bytes, a (possibly asynchronous) iterable, or a Microphone.

        `pace=1` sends as fast as one speaks; None as fast as the server takes it. With `interim`
        the open sentence comes too, `is_final` telling them apart.
        """
        stream = self.open(source, pace=pace, levels=False)
        try:
            async for sentence in stream.sentences(interim):
                yield sentence
        finally:
            await stream.aclose()

    # connections

    async def _connection(self) -> ClientConnection:
        idle, self._idle = self._idle, None
        if idle is not None and await self._is_alive(idle):
            return idle
        try:
            return await connect(
                self.url,
                additional_headers=self._headers(),
                compression=None,  # PCM does not compress
                open_timeout=self.open_timeout_s,
                close_timeout=2,
                max_size=None,
                ping_interval=20,
                ping_timeout=60,  # a ping queues behind a file that is sent in one go
                **self._proxy(),
            )
        except (OSError, asyncio.TimeoutError, InvalidHandshake, InvalidURI) as error:
            raise _connection_error(self.url, error) from error

    def _headers(self) -> dict[str, str]:
        agent = {"User-Agent": f"AsrClient/{__version__} python"}
        return {**agent, "Authorization": f"Bearer {self._api_key}"} if self._api_key else agent

    def _proxy(self) -> dict[str, Any]:
        """No proxy to this machine, whatever the environment says."""
        local = urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")
        can_choose = int(metadata.version("websockets").partition(".")[0]) >= 15
        return {"proxy": None} if local and can_choose else {}

    @staticmethod
    async def _is_alive(connection: ClientConnection) -> bool:
        """A server may have closed it while nobody looked."""
        try:
            await _within(1, await connection.ping())
        except (ConnectionClosed, asyncio.TimeoutError):
            await connection.close()
            return False
        return True

    async def _keep(self, connection: ClientConnection) -> None:
        previous, self._idle = self._idle, connection
        if previous is not None:
            await previous.close()

    async def _send_text(self, connection: ClientConnection, text: str) -> None:
        self._log_wire("out", text)
        await connection.send(text)

    async def _next_message(self, connection: ClientConnection) -> dict[str, Any]:
        while True:
            data = await connection.recv()
            self._log_wire("in", data)
            try:
                message = json.loads(data)
            except ValueError:
                continue
            if isinstance(message, dict):
                return message


class SyncAsrClient:
    """AsrClient for code without asyncio: the same arguments, plain iterators.

    with SyncAsrClient("ws://127.0.0.1:8000") as asr:
        for sentence in asr.transcribe("meeting.wav"):
            print(sentence.text)
    """

    def __init__(self, url: str = DEFAULT_URL, **options: Any) -> None:
        self._client = AsrClient(url, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> SyncAsrClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End every stream and the thread."""
        if self._loop.is_closed():
            return
        self._await(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def transcribe(
        self, source: Any, *, pace: float | None = None, interim: bool = False
    ) -> Iterator[Sentence]:
        """As `AsrClient.transcribe`, without `async`."""
        sentences = self._client.transcribe(source, pace=pace, interim=interim)
        try:
            while (sentence := self._await(_next_or_none(sentences))) is not None:
                yield sentence
        finally:
            self._await(sentences.aclose())

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _next_or_none(items: AsyncIterator[T]) -> T | None:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return None


def transcribe(source: Any, url: str = DEFAULT_URL, **options: Any) -> Iterator[Sentence]:
    """The sentences of one source, in one line: `for s in transcribe("a.wav"): print(s.text)`."""
    with SyncAsrClient(url, **options) as client:
        yield from client.transcribe(source)


# --------------------------------------------------------------------------------------- formats

PAUSE_MARKS = frozenset("，。！？；：、,.!?;:")


def captions(sentences: Iterable[Sentence], max_chars: int = 24) -> Iterator[Caption]:
    """Subtitles no longer than `max_chars`, cut between words and by preference after a mark."""
    for sentence in sentences:
        end = sentence.begin_ms if sentence.end_ms is None else sentence.end_ms
        if len(sentence.text) <= max_chars or not sentence.words:
            yield Caption(sentence.begin_ms, end, sentence.text)
            continue
        for group in _split_words(sentence.words, max_chars):
            text = "".join(word.text + word.punctuation for word in group)
            yield Caption(group[0].begin_ms, group[-1].end_ms, text.strip())


def _split_words(words: Iterable[Word], max_chars: int) -> Iterator[list[Word]]:
    group: list[Word] = []
    length = 0
    for word in words:
        size = len(word.text) + len(word.punctuation)
        full = length + size > max_chars
        rested = length >= max_chars // 2 and group and group[-1].punctuation[-1:] in PAUSE_MARKS
        if group and (full or (rested and group[-1].punctuation)):
            yield group
            group, length = [], 0
        group.append(word)
        length += size
    if group:
        yield group


def to_txt(sentences: Iterable[Sentence]) -> str:
    """One sentence a line."""
    return "".join(f"{sentence.text}\n" for sentence in sentences)


def to_srt(sentences: Iterable[Sentence], max_chars: int = 24) -> str:
    """SubRip subtitles."""
    blocks = (
        f"{number}\n{_clock(c.begin_ms, ',')} --> {_clock(c.end_ms, ',')}\n{c.text}\n"
        for number, c in enumerate(captions(sentences, max_chars), 1)
    )
    return "\n".join(blocks)


def to_vtt(sentences: Iterable[Sentence], max_chars: int = 24) -> str:
    """WebVTT subtitles, as a browser's <track> wants them."""
    blocks = (
        f"{_clock(c.begin_ms, '.')} --> {_clock(c.end_ms, '.')}\n{escape(c.text, quote=False)}\n"
        for c in captions(sentences, max_chars)
    )
    return "WEBVTT\n\n" + "\n".join(blocks)


def to_json(sentences: Iterable[Sentence]) -> str:
    """Everything known, words and times included."""
    return json.dumps([asdict(s) for s in sentences], ensure_ascii=False, indent=2) + "\n"


def _clock(ms: int, mark: str) -> str:
    seconds, ms = divmod(max(0, ms), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"


# ---------------------------------------------------------------------------------- command line

WRITERS: dict[str, Callable[[Iterable[Sentence]], str]] = {
    "txt": to_txt,
    "srt": to_srt,
    "vtt": to_vtt,
    "json": to_json,
}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="AsrClient.py", description="Recognise speech from files or the microphone."
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="audio: wav, pcm, mp3, opus, flac, m4a ...")
    add("--mic", action="store_true", help="listen to the microphone until Ctrl-C")
    add("--device", help="which microphone (number or name, see --devices)")
    add("--devices", action="store_true", help="list the microphones and leave")
    add("--url", default=os.environ.get("ASR_URL", DEFAULT_URL), help="default: %(default)s")
    add("--api-key", help="default: $ASR_API_KEY, or $DASHSCOPE_API_KEY for aliyuncs.com")
    add("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    add("--rate", type=int, default=16000, metavar="HZ", help="of raw PCM (default: %(default)s)")
    add("--pace", type=float, metavar="X", help="send at X times real time (default: at once)")
    add("--silence", type=int, metavar="MS", help="silence that ends a sentence, 200-6000")
    add("--no-punctuation", action="store_true", help="no punctuation")
    add("--no-itn", action="store_true", help="numbers as spoken, not as digits")
    add("--hotword", action="append", default=[], metavar="WORD[:WEIGHT]", help="may be repeated")
    add("--vocabulary-id", help="a hotword list stored on the server")
    add("--interim", action="store_true", help="show the open sentence without rich, too")
    add("--times", action="store_true", help="print when each sentence begins and ends")
    add("--wire", action="store_true", help="print every message to stderr")
    for suffix in WRITERS:
        add(f"--{suffix}", metavar="OUT", help=f"write {suffix} to this file")
    add("--version", action="version", version=__version__)
    return parser


def _parameters(options: argparse.Namespace) -> Parameters:
    return Parameters(
        sample_rate=options.rate,
        max_sentence_silence=options.silence,
        punctuation_prediction_enabled=False if options.no_punctuation else None,
        inverse_text_normalization_enabled=False if options.no_itn else None,
        vocabulary_id=options.vocabulary_id,
        vocabulary=dict(map(_hotword, options.hotword)) or None,
    )


def _hotword(text: str) -> tuple[str, int]:
    word, _, weight = text.partition(":")
    return word, int(weight or 4)


def _api_key(options: argparse.Namespace) -> str | None:
    """DashScope's key goes to DashScope only."""
    if options.api_key:
        return str(options.api_key)
    host = urlsplit(endpoint(options.url)).hostname or ""
    name = "DASHSCOPE_API_KEY" if host.endswith(".aliyuncs.com") else "ASR_API_KEY"
    return os.environ.get(name)


class _Screen:
    """Final sentences to stdout; the open one below them where the terminal can show it."""

    def __init__(self, times: bool, interim: bool) -> None:
        self._times = times
        self._interim = interim
        self._live: Any = None
        self._level = ""
        self._text = ""
        with contextlib.suppress(ImportError):
            if sys.stdout.isatty():
                self._live = importlib.import_module("rich.live").Live(transient=True)

    def __enter__(self) -> _Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Draw one event."""
        if isinstance(event, Final) and event.sentence.text:
            self._update("")
            self._print(self._line(event.sentence))
        elif isinstance(event, Interim):
            self._update(event.sentence.text)
        elif isinstance(event, Level):
            self._level = "▁▂▃▄▅▆▇█"[min(7, max(0, int((event.rms_db + 60) / 7.5)))]
            if self._live and not self._text:
                self._update("")
        elif isinstance(event, Reconnecting):
            reason = f"{event.error}; next attempt in {event.delay_s:.1f} s"
            print(reason, file=sys.stderr)

    def _line(self, sentence: Sentence) -> str:
        if not self._times:
            return sentence.text
        span = f"{_clock(sentence.begin_ms, '.')} - {_clock(sentence.end_ms or 0, '.')}"
        return f"[{span}]  {sentence.text}"

    def _print(self, line: str) -> None:
        if self._live:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def _update(self, text: str) -> None:
        self._text = text
        if self._live:
            text_class = importlib.import_module("rich.text").Text
            self._live.update(text_class(f"{self._level} {text}", style="dim"))
        elif self._interim and text:
            print(f"… {text}", file=sys.stderr, flush=True)


async def _recognise(options: argparse.Namespace) -> dict[str, list[Sentence]]:
    """Every source after the other; the sentences by name."""
    heard: dict[str, list[Sentence]] = {}
    client = AsrClient(
        options.url,
        api_key=_api_key(options),
        model=options.model,
        parameters=_parameters(options),
        on_wire=_print_wire if options.wire else None,
    )
    async with client:
        with _Screen(options.times, options.interim) as screen:
            for name, source in _sources(options):
                sentences = heard.setdefault(name, [])
                if len(options.files) > 1:
                    print(f"# {name}", flush=True)
                async for event in client.open(source, pace=options.pace):
                    screen.show(event)
                    if isinstance(event, Final) and event.sentence.text:
                        sentences.append(event.sentence)
    return heard


def _sources(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    for name in options.files:
        yield name, name
    if options.mic:
        device = int(options.device) if (options.device or "").isdigit() else options.device
        microphone = Microphone(device)
        loop = asyncio.get_running_loop()

        def finish() -> None:
            microphone.stop()
            loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends at once

        with contextlib.suppress(NotImplementedError):  # Windows: the first one does
            loop.add_signal_handler(signal.SIGINT, finish)
        print("listening; Ctrl-C ends", file=sys.stderr, flush=True)
        yield "microphone", microphone


def _print_wire(direction: str, message: str | bytes) -> None:
    text = message if isinstance(message, str) else f"<{len(message)} bytes>"
    print("->" if direction == "out" else "<-", text, file=sys.stderr)


def _write(options: argparse.Namespace, heard: Mapping[str, list[Sentence]]) -> None:
    sentences = [sentence for part in heard.values() for sentence in part]
    for suffix, writer in WRITERS.items():
        if target := getattr(options, suffix):
            Path(target).write_text(writer(sentences), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    if options.devices:
        print(_sounddevice().query_devices())
        return 0
    if not options.files and not options.mic:
        parser.error("give a FILE or --mic")
    if len(options.files) + options.mic > 1 and (options.srt or options.vtt):
        parser.error("--srt and --vtt are for one recording")
    try:
        _write(options, asyncio.run(_recognise(options)))
    except (AsrError, OSError) as error:
        print(f"AsrClient.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
