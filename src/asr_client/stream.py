"""One recognition over as many tasks and connections as it needs."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable

from websockets.exceptions import ConnectionClosed

from asr_client.audio import AudioSource, level_of, paced_blocks
from asr_client.buffer import AudioBuffer
from asr_client.connection import ConnectionPool, OnWire, Task
from asr_client.errors import NO_AUDIO, AsrError, ServerAway, StreamClosed, TaskFailed
from asr_client.protocol import FRAME_MS, parse_sentence
from asr_client.types import (
    Event,
    Failed,
    Final,
    Finished,
    Interim,
    Level,
    Parameters,
    Reconnecting,
    Retry,
    Sentence,
    Started,
)

MAX_UNSENT_S = 60  # push() waits beyond this: enough for a restart of the server
MAX_KEPT_S = 600  # audio kept for a resume; only silence or a very late server can reach it
MAX_KEPT_ENCODED = 64 << 20  # bytes; a longer compressed stream cannot be resumed
GOOD_WHILE_S = 10  # a task that lasted this long was no failed attempt
ENCODED_FRAME = 4096  # bytes of a compressed file in one message
ONE_SENTENCE = "gummy-chat"  # models whose task ignores audio after its first final


class Stream:
    """One recognition: push audio, iterate over events; made by `AsrClient.stream()`."""

    def __init__(
        self,
        connections: ConnectionPool,
        model: str,
        parameters: Parameters,
        retry: Retry,
        *,
        levels: bool,
        frame_bytes: int | None,
        start_timeout_s: float,
        on_wire: OnWire | None,
        on_end: Callable[[Stream], object],
    ) -> None:
        self._connections = connections
        self._model = model
        self._parameters = parameters
        self._retry = retry
        self._start_timeout_s = start_timeout_s
        self._on_wire = on_wire
        self._on_end = on_end
        self._pcm = parameters.format == "pcm"
        self._levels = levels and self._pcm
        self._bytes_per_ms = parameters.sample_rate * 2 / 1000
        frame = int(self._bytes_per_ms * FRAME_MS) // 2 * 2 if self._pcm else ENCODED_FRAME
        self._frame = frame_bytes or frame
        self._one_sentence = self._pcm and model.startswith(ONE_SENTENCE)
        kept = int(MAX_KEPT_S * 1000 * self._bytes_per_ms) if self._pcm else MAX_KEPT_ENCODED
        resends = retry.attempts or retry.initial_attempts or self._one_sentence
        self._max_kept = kept if resends else 0
        self._buffer = AudioBuffer()
        # Positions in the buffer: the running task began, has audio up to, is to finish at.
        self._task_base = self._sent = self._flush_at = 0
        self._ended = False
        self._finals = 0
        self._task_finals = 0
        self._covered_ms = 0  # the end of the last final
        self._sentence_open = False
        self._started = 0  # tasks the server accepted
        self._progress = False
        self._input = asyncio.Event()  # audio, a flush or the end came
        self._room = asyncio.Event()  # audio was sent, or none ever will be
        self._events: collections.deque[Event] = collections.deque()
        self._event_came = asyncio.Event()
        self._error: Exception | None = None
        self._tasks = [asyncio.create_task(self._run(), name="asr stream")]
        self._tasks[0].add_done_callback(self._settle)

    # Public methods

    async def push(self, data: bytes) -> None:
        """Take audio of any length; waits while a minute of it is still unsent."""
        if self._ended or self._done:
            raise self._error or StreamClosed("the stream takes no more audio")
        if self._levels and data:
            self._emit(level_of(data))
        self._buffer.append(data)
        self._buffer.discard_before(self._even(min(self._sent, self._buffer.end - self._max_kept)))
        self._input.set()
        await self._wait_for_room()

    def flush(self) -> None:
        """Close the open sentence now, as when a push-to-talk key is released; more may follow."""
        if not self._pcm:
            raise ValueError(f"only PCM can be flushed, not {self._parameters.format}")
        self._flush_at = self._buffer.end
        self._input.set()

    def end_input(self) -> None:
        """End the audio; the events end with `Finished`."""
        self._ended = True
        self._input.set()

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
        """Yield the final sentences in order; with `interim` also the open one, repeatedly."""
        async for event in self:
            if isinstance(event, Final) and event.sentence.text:
                yield event.sentence
            elif interim and isinstance(event, Interim):
                yield event.sentence

    def feed_from(self, source: AudioSource, pace: float | None) -> None:
        """Push all audio of a source in the background, then end the input."""
        self._tasks.append(asyncio.create_task(self._feed(source, pace), name="asr source"))

    # The tasks of a stream, one after another until everything is recognised

    @property
    def _done(self) -> bool:
        return self._tasks[0].done()

    async def _run(self) -> None:
        try:
            await self._recognise_everything()
            duration = round(self._buffer.end / self._bytes_per_ms) if self._pcm else 0
            self._emit(Finished(duration))
        except Exception as error:
            self._error = error
            self._emit(Failed(error))

    def _settle(self, task: asyncio.Task[None]) -> None:
        """Wake whatever waits for a stream that is over, however it ended."""
        self._on_end(self)
        self._room.set()
        self._event_came.set()

    async def _recognise_everything(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._all_sent:
            self._progress = False
            began = loop.time()
            try:
                await self._recognise_one_task()
            except AsrError as error:
                if self._all_sent and self._sent == self._task_base and error.code == NO_AUDIO:
                    return
                if self._progress or loop.time() - began > GOOD_WHILE_S:
                    failures = 0
                self._check_retry(error, failures)
                await self._recover(error, failures)
                failures += 1
                continue
            failures = 0
            self._buffer.discard_before(self._sent)
            await self._wait_for_audio()

    @property
    def _all_sent(self) -> bool:
        return self._ended and self._sent >= self._buffer.end

    def _check_retry(self, error: AsrError, failures: int) -> None:
        """Raise the error unless another task may continue the stream."""
        allowed = self._retry.attempts if self._started else self._retry.initial_attempts
        if not error.retryable or failures >= allowed:
            raise error
        if not self._pcm and self._buffer.base > 0:
            raise error  # the head of a compressed stream is gone: no decoder could go on

    async def _recover(self, error: AsrError, failures: int) -> None:
        if isinstance(error, TaskFailed) and error.is_idle_timeout and self._pcm:
            if self._sentence_open:  # a pause in mid-sentence: close the sentence
                self._flush_at = self._buffer.end
                self._sent = self._buffer.base
            else:  # only silence was sent: drop it, and start a task when more audio comes
                self._buffer.discard_before(self._even(self._sent - int(1000 * self._bytes_per_ms)))
                await self._wait_for_audio()
            return
        delay = self._retry.delay_s(failures)
        self._sent = self._buffer.base
        self._emit(Reconnecting(failures + 1, delay, error))
        await asyncio.sleep(delay)

    async def _recognise_one_task(self) -> None:
        connection = await self._connections.acquire()
        if self._all_sent:  # the input ended meanwhile, without audio
            await self._connections.release(connection)
            return
        task = Task(connection, self._on_wire)
        self._task_base = self._sent = self._buffer.base
        self._task_finals = 0
        try:
            await self._start(task)
            sender = asyncio.create_task(self._send(task), name="asr sender")
            try:
                await self._receive(task, self._task_base)
            finally:
                is_finished = sender.done()
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        except BaseException as error:
            await connection.close()
            if isinstance(error, ConnectionClosed):
                raise ServerAway(f"the connection was lost: {error}") from error
            raise
        if self._pcm and self._task_finals and (self._one_sentence or not is_finished):
            self._sent = self._buffer.base  # the server ignored what came after its last final
        await self._connections.release(connection)

    async def _start(self, task: Task) -> None:
        asked = self._parameters
        parameters = asked.on_wire(asked.format, asked.sample_rate)
        try:
            await task.start(self._model, parameters, self._start_timeout_s)
        except asyncio.TimeoutError as error:
            raise ServerAway("the server did not answer run-task in time") from error
        self._emit(Started(task.id, self._started))
        self._started += 1

    async def _send(self, task: Task) -> None:
        """Send frames from the buffer until the end or a flush, then finish-task."""
        while not self._at_boundary():
            if frame := self._next_frame():
                await task.send(frame)
                self._sent += len(frame)
                self._room.set()
            else:
                self._input.clear()
                await self._input.wait()
        await task.finish()

    def _at_boundary(self) -> bool:
        is_flushed = self._task_base < self._flush_at <= self._sent
        is_complete = self._one_sentence and self._task_finals > 0
        return self._all_sent or is_flushed or is_complete

    def _next_frame(self) -> bytes:
        """Return a whole frame, or what is left before a boundary."""
        flushes = self._flush_at > self._sent
        boundary = self._flush_at if flushes else self._buffer.end
        size = min(self._frame, boundary - self._sent)
        complete = size == self._frame or self._ended or flushes
        return self._buffer.read(self._sent, size) if complete else b""

    async def _receive(self, task: Task, base: int) -> None:
        shift_ms = round(base / self._bytes_per_ms) if self._pcm else 0
        async with contextlib.aclosing(task.results()) as outputs:
            async for output in outputs:
                if sentence := parse_sentence(output, self._finals, shift_ms):
                    self._accept(sentence)

    def _accept(self, sentence: Sentence) -> None:
        self._progress = True
        if not self._pcm and sentence.begin_ms < self._covered_ms:
            return  # a compressed file began anew after a reconnection: this one is known
        if not sentence.is_final:
            self._sentence_open = True
            self._emit(Interim(sentence))
            return
        self._sentence_open = False
        self._finals += 1
        self._task_finals += 1
        self._input.set()
        self._covered_ms = max(self._covered_ms, sentence.end_ms or 0)
        if self._pcm:
            covered = int(self._covered_ms * self._bytes_per_ms)
            self._buffer.discard_before(self._even(min(self._sent, covered)))
        self._emit(Final(sentence))

    # Helpers

    def _emit(self, event: Event) -> None:
        """Queue an event; an unread interim or level is replaced, nothing else is ever dropped."""
        if isinstance(event, (Interim, Level)):
            for at, unread in enumerate(self._events):
                if type(unread) is type(event):
                    del self._events[at]
                    break
        self._events.append(event)
        self._event_came.set()

    @staticmethod
    def _even(position: int) -> int:
        """Return the byte position at which the sample begins."""
        return position // 2 * 2

    async def _wait_for_room(self) -> None:
        limit = MAX_UNSENT_S * 1000 * self._bytes_per_ms
        while not self._done and self._buffer.end - self._sent > limit:
            self._room.clear()
            await self._room.wait()

    async def _wait_for_audio(self) -> None:
        """Wait until there is audio to send, or the end: an idle task costs the server a slot."""
        while self._buffer.end <= self._sent and not self._ended:
            self._input.clear()
            await self._input.wait()

    async def _feed(self, source: AudioSource, pace: float | None) -> None:
        try:
            async with contextlib.aclosing(paced_blocks(source, pace)) as blocks:
                async for block in blocks:
                    await self.push(block)
            self.end_input()
        except Exception as error:
            if not self._done:  # the source failed: report it and leave the server
                self._error = error
                self._emit(Failed(error))
                self._tasks[0].cancel()
