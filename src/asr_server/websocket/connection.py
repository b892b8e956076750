"""Carry one connection's messages to its session, and the session's outputs out.

The session decides; this module does the I/O in three asyncio tasks:

- `read` receives the client's messages and pushes audio. It awaits room in the engine, which is the
  input backpressure, but never a result.
- `results` receives hypotheses; it runs as long as a stream is open.
- `write` sends frames, and at the end the close frame. It is a task of its own because some clients
  read nothing before they have sent everything.

A timer feeds the session a tick at its deadline. Everything runs on the event loop, and the session
is only ever fed synchronously, so no lock is needed.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_server.access import Caller
from asr_server.errors import AsrError, InternalError, ShuttingDown
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Outcome
from asr_server.protocol.commands import ContinueTask, Rejected
from asr_server.settings import Settings
from asr_server.state.messages import (
    CloseSocket,
    CloseStream,
    Disconnected,
    Failed,
    FinishStream,
    Input,
    Opened,
    OpenStream,
    Output,
    Postpone,
    PushAudio,
    ReplaceContext,
    Send,
    Tick,
)
from asr_server.state.session import State
from asr_server.state.task import Task
from asr_server.websocket.audio_input import AudioInput, find_hotwords
from asr_server.websocket.deadline_timer import DeadlineTimer
from asr_server.websocket.door import Door, inference_door
from asr_server.websocket.limits import client_address
from asr_server.websocket.server_context import ServerContext
from asr_server.websocket.task_log import IgnoredLog, log_end
from asr_server.websocket.uvicorn_compat import abort
from asr_server.websocket.uvicorn_protocols import ERROR

log = logging.getLogger(__name__)

GOING_AWAY = CloseSocket(1001, "going away")
"""The close frame of a server that stops; clients reconnect, to another server."""


class Connection:
    """Serve one client from the accepted handshake to the close frame."""

    def __init__(
        self,
        websocket: WebSocket,
        caller: Caller,
        server: ServerContext,
        confirm: Callable[[], None] = lambda: None,
        door: Callable[[Settings, float], Door] = inference_door,
    ) -> None:
        """`confirm` raises InvalidApiKey once the client may start no further task."""
        self._websocket = websocket
        self._caller = caller
        self._confirm = confirm
        self._server = server
        self._clock = asyncio.get_running_loop().time
        self._door = door(server.settings, self._clock())
        self._session = self._door.session
        self._address = client_address(websocket.scope)
        self._audio: AudioInput | None = None
        """Of the open stream."""
        self._stream_closed = asyncio.Event()
        self._ignored = IgnoredLog()
        self._results_task: asyncio.Task[None] | None = None
        self._outbox: deque[Send] = deque()
        self._wake_writer = asyncio.Event()
        self._close_frame: CloseSocket | None = None
        self._reading = False
        """Whether the read task awaits a message, as opposed to room in the engine."""
        self._timer = DeadlineTimer(lambda: self._session.deadline, self._tick)
        self._draining = False
        """Whether new tasks are refused and the connection closes once no task is open."""
        self._ended = asyncio.Event()
        """Set when the conversation is over; `run` closes the connection."""
        self._crash: BaseException | None = None

    async def run(self) -> None:
        """Serve the client until either side closes the connection."""
        read = self._start(self._read(), "read")
        write = self._start(self._write(), "write")
        try:
            self._carry_out(self._door.opening, None)
            await self._ended.wait()
            if self._crash is not None:
                self._fail(self._crash)
            elif self._close_frame is None and self._session.state is State.IDLE:
                self._close_frame = GOING_AWAY
            if self._close_frame is not None:
                self._wake_writer.set()
                # Not `wait_for`: until Python 3.12 it may swallow a cancellation.
                await asyncio.wait({write}, timeout=self._server.settings.close_timeout_s)
                if not write.done():
                    abort(self._websocket.scope)
        finally:
            self._close_stream("failed", None)  # if `run` itself was cancelled
            self._timer.cancel()
            read.cancel()
            write.cancel()

    def drain(self) -> None:
        """Refuse further tasks and close the connection as soon as no task is open."""
        self._draining = True
        self._check_ended()

    def fail_open_task(self) -> None:
        """Fail the task that is still open."""
        if self._session.state is not State.IDLE:
            self._feed(Failed(ShuttingDown()))

    # The tasks ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        while self._close_frame is None:
            self._reading = True
            message = await self._websocket.receive()
            self._reading = False
            if message["type"] == "websocket.disconnect":
                broken_limit = message.get(ERROR)
                self._feed(Rejected("", broken_limit) if broken_limit else Disconnected())
                return
            event = self._door.parse(message)
            if isinstance(event, ContinueTask) and self._session.task_id:
                self._ignored.add(self._session.task_id, event.ignored)
            for output in self._feed(event):
                await self._feed_engine(output)

    async def _feed_engine(self, output: Output) -> None:
        """Carry out an output for the engine, and feed the session with what becomes of it."""
        audio = self._audio
        try:
            match output:
                case PushAudio(data) if audio:
                    await audio.push(data)
                case FinishStream() if audio:
                    await audio.finish()
                case OpenStream(task):
                    await self._open_stream(task)
                case ReplaceContext(context) if audio:
                    await audio.replace_context(context)
                case Postpone(command):
                    await self._stream_closed.wait()
                    for following in self._feed(command):
                        await self._feed_engine(following)
        except AsrError as error:
            if audio is self._audio:  # else the stream was closed meanwhile
                self._feed(Failed(error))

    async def _open_stream(self, task: Task) -> None:
        server = self._server
        if self._draining:
            raise ShuttingDown
        self._ignored.add(task.task_id, task.ignored)
        self._confirm()
        hotwords = await find_hotwords(server, self._caller, task)
        if self._session.state is not State.STARTING:
            return  # the drain timeout failed the task meanwhile
        server.acquire(self._caller, self._address)
        try:
            self._audio = AudioInput.open(task, hotwords, server)
        except BaseException:
            server.release(self._caller, self._address)
            raise
        self._stream_closed.clear()
        self._results_task = self._start(self._receive_results(self._audio), "results")
        for output in self._feed(Opened()):
            await self._feed_engine(output)

    async def _receive_results(self, audio: AudioInput) -> None:
        try:
            while audio is self._audio:
                self._feed(await audio.stream.next())
        except AsrError as error:
            self._feed(Failed(error))

    async def _write(self) -> None:
        while True:
            while self._outbox:
                with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                    await self._websocket.send_text(self._outbox.popleft().frame)
                # After a disconnect frames are dropped; the read task ends the conversation.
            if (close := self._close_frame) is not None:
                with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                    await self._websocket.close(close.code, close.reason)
                return
            self._wake_writer.clear()
            await self._wake_writer.wait()

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (crash := task.exception()) is not None:
            self._crash = crash
            self._ended.set()

    def _tick(self) -> None:
        if self._close_frame is None:
            try:
                self._feed(Tick(reading=self._reading))
            except Exception as crash:
                self._crash = crash
                self._ended.set()

    # Outputs ------------------------------------------------------------------------------------

    def _feed(self, event: Any) -> list[Output]:
        """Feed the session, carry out what takes no time; return the rest, for the read task."""
        if self._close_frame is not None:
            return []
        return self._carry_out(self._session.receive(event, self._clock()), event)

    def _carry_out(self, outputs: Sequence[Output], event: Input | None) -> list[Output]:
        rest: list[Output] = []
        for output in outputs:
            match output:
                case Send():
                    self._post(output)
                case CloseStream(task_id, error):
                    ended: Outcome = (
                        "disconnected" if isinstance(event, Disconnected) else "finished"
                    )
                    self._close_stream("failed" if error else ended, error, task_id)
                case CloseSocket():
                    self._close_frame = output
                case _:
                    rest.append(output)
        self._timer.update()
        self._check_ended()
        return rest

    def _check_ended(self) -> None:
        state = self._session.state
        if state is State.CLOSED or (self._draining and state is State.IDLE):
            self._ended.set()

    def _post(self, message: Send) -> None:
        """Queue a frame; it replaces an interim result that is not yet sent."""
        if message.sentence is not None and self._audio is not None:
            self._audio.task_log.sentence_sent(message.sentence)
        if self._outbox and self._outbox[-1].replaceable:
            self._outbox.pop()
        self._outbox.append(message)
        self._wake_writer.set()
        if len(self._outbox) > self._server.settings.max_unread_results:
            about = {"task_id": self._session.task_id}
            log.warning("client does not read its results: connection aborted", extra=about)
            abort(self._websocket.scope)

    def _close_stream(self, outcome: Outcome, error: AsrError | None, task_id: str = "") -> None:
        """Close the open stream, if there is one, and log how its task ended or was refused."""
        if error is not None:
            self._server.metrics.errors.labels(error.code).inc()
        if self._audio is not None:
            self._audio.close()
            self._audio.task_log.ended(outcome, error, self._caller, self._address)
            self._audio = None
            self._stream_closed.set()
            self._server.release(self._caller, self._address)
        elif error is not None:
            log_end(outcome, error, self._caller, self._address, task_id=task_id or None)
        if self._results_task is not None:
            self._results_task.cancel()
            self._results_task = None

    def _fail(self, crash: BaseException) -> None:
        """Log a bug of this server, and fail the task without details."""
        task_id = self._session.task_id
        log.error("connection failed", extra={"task_id": task_id, **fault(crash)})
        error = InternalError()
        self._close_stream("failed", error, task_id)
        self._post(Send(self._door.failed(task_id, error)))
        self._close_frame = CloseSocket(error.close_code, error.close_reason)
