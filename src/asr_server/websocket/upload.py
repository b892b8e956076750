"""Recognise an uploaded recording as a task: keys, limits, decoding and logs of a connection's.

The audio is pushed as fast as the recogniser takes it; the admission of live streams and their
priority are those of any client that sends faster than real time.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from asr_server.access import Caller
from asr_server.errors import AsrError, InternalError, ShuttingDown, TaskTooLong
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Outcome
from asr_server.protocol.commands import RunTask
from asr_server.protocol.events import Sentence
from asr_server.recognition import Hypothesis
from asr_server.state.results import Results
from asr_server.state.task import Task, accept
from asr_server.websocket.audio_input import AudioInput, find_hotwords
from asr_server.websocket.server_context import ServerContext
from asr_server.websocket.task_log import log_end

log = logging.getLogger(__name__)

DOOR = "openai-http"


class Upload:
    """Recognise one recording; `close` may come at any time, as when the client disconnects."""

    def __init__(self, server: ServerContext, caller: Caller, address: str) -> None:
        self._server = server
        self._caller = caller
        self._address = address
        self._audio: AudioInput | None = None
        self._task: Task
        self._pushing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._outcome: Outcome = "disconnected"
        self._error: AsrError | None = None
        self.duration_s = 0.0
        """Seconds of audio, of an ended task."""
        self.closed: Callable[[], None] = lambda: None
        """Called once the task has ended."""

    async def open(self, command: RunTask) -> None:
        """Open the task's stream. Raises AsrError."""
        server = self._server
        try:
            self._task = replace(accept(command, server.settings), door=DOOR)
            hotwords = await find_hotwords(server, self._caller, self._task)
            server.acquire(self._caller, self._address)
            try:
                self._audio = AudioInput.open(self._task, hotwords, server)
            except BaseException:
                server.release(self._caller, self._address)
                raise
        except AsrError as error:
            log_end("failed", error, self._caller, self._address, task_id=command.task_id)
            raise

    async def sentences(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[Sentence]:
        """Yield the final sentences of a recording. Raises AsrError."""
        audio = self._audio
        assert audio is not None
        self._pushing = asyncio.create_task(_push(audio, blocks), name="upload")
        if longest_s := self._server.settings.max_task_s:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(longest_s, audio.stream.fail, TaskTooLong(longest_s))
        results = Results(self._task, 0.0)
        try:
            while isinstance(event := await audio.stream.next(), Hypothesis):
                for sent in results.accept(event, 0.0) if event.final else []:
                    if sent.sentence is not None and sent.sentence.end_time is not None:
                        audio.task_log.sentence_sent(sent.sentence)
                        yield sent.sentence
            self._outcome = "finished"
        except AsrError as error:
            self._outcome, self._error = "failed", error
            raise
        finally:
            self.close()

    def drain(self) -> None:
        """Go on: a recording ends by itself, or at the drain timeout."""

    def fail_open_task(self) -> None:
        """Fail the task that is still open."""
        if self._audio is not None:
            self._audio.stream.fail(ShuttingDown())

    def close(self) -> None:
        """End the task; may be called twice."""
        if self._audio is not None:
            audio, self._audio = self._audio, None
            if self._pushing is not None:
                self._pushing.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self.duration_s = audio.decoded_s
            audio.close()
            audio.task_log.ended(self._outcome, self._error, self._caller, self._address)
            self._server.release(self._caller, self._address)
        self.closed()


async def _push(audio: AudioInput, blocks: AsyncIterator[bytes]) -> None:
    """Push a recording; a failure ends the stream, whose reader raises it."""
    try:
        async for block in blocks:
            await audio.push(block)
        await audio.finish()
    except AsrError as error:
        audio.stream.fail(error)
    except Exception as crash:
        log.error("upload failed", extra=fault(crash))
        audio.stream.fail(InternalError())
