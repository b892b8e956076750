"""One connection: carries the client's messages to the session and the session's outputs out.

It decides nothing. One coroutine waits for whichever comes first: a message from the client,
something heard by the recogniser, a frame that has left, or the session's next deadline. Writing
never keeps it from reading, because some clients read nothing until they have sent everything.
"""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field

from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_server.access import Caller
from asr_server.asr.engine import Engine
from asr_server.errors import AsrError, InternalError, ShuttingDown
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Metrics, Outcome
from asr_server.protocol import events
from asr_server.protocol.commands import parse
from asr_server.settings import Settings
from asr_server.state.messages import (
    Audio,
    CloseSocket,
    CloseStream,
    Failed,
    FinishStream,
    Gone,
    Input,
    Opened,
    OpenStream,
    Output,
    PushAudio,
    Send,
    Tick,
)
from asr_server.state.session import Session, State
from asr_server.state.task import Task
from asr_server.websocket import task_log as report
from asr_server.websocket.audio_input import AudioInput
from asr_server.websocket.hotwords import Hotwords
from asr_server.websocket.limits import ConcurrencyLimit
from asr_server.websocket.uvicorn_compat import cut

log = logging.getLogger(__name__)

GOING_AWAY = 1001
"""Close code of a server that stops; clients connect again, to another one."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections share."""

    engine: Engine
    settings: Settings
    seats: ConcurrencyLimit
    hotwords: Hotwords
    metrics: Metrics = field(default_factory=Metrics)


class Connection:
    """Lives from the accepted handshake to the close frame."""

    def __init__(self, websocket: WebSocket, caller: Caller, house: ServerContext) -> None:
        self._websocket = websocket
        self._caller = caller
        self._house = house
        self._settings = house.settings
        self._clock = asyncio.get_running_loop().time
        self._session = Session(house.settings, self._clock())
        self._intake: AudioInput | None = None
        self._outbox: deque[Send] = deque()
        self._farewell: CloseSocket | None = None
        self._vanished = False
        """The client left without a word."""
        self._failure: AsrError | None = None
        """What the client is told to have gone wrong."""
        self._leaving = False
        """No further task is taken, and the connection closes when none runs."""
        self._nudge = asyncio.get_running_loop().create_future()
        """Done when something has happened that nothing else would wake for."""
        self._listening = False
        """Whether the socket is being read, as opposed to waiting for the recogniser."""
        self._wakes_at = float("inf")
        """When the session wants to be told the time, as of the last look."""
        self._reader: asyncio.Task[Input | None] | None = None
        self._hearer: asyncio.Task[Input] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the client until either side has closed."""
        try:
            try:
                while not self._over:
                    await self._next()
            except Exception as exc:
                about = {"task_id": self._session.task_id, **fault(exc)}
                log.error("the connection failed", extra=about)
                error = self._failure = InternalError()
                frame = events.task_failed(self._session.task_id, error)
                self._post(Send(frame, tells=error))
                self._farewell = CloseSocket(InternalError.close_code, InternalError.code)
            self._close_intake()
            if self._session.state is State.IDLE and self._farewell is None:
                self._farewell = CloseSocket(GOING_AWAY, "going away")
            await self._leave()
        finally:
            self._close_intake()
            for task in (self._reader, self._writer):
                if task is not None:
                    task.cancel()

    def leave(self) -> None:
        """Close as soon as no task runs, and take no further one."""
        self._leaving = True
        self._wake()

    def give_up(self) -> None:
        """Fail the task that still runs."""
        if self._session.state is not State.IDLE:
            self._feed(Failed(ShuttingDown()))
        self._wake()

    @property
    def _over(self) -> bool:
        state = self._session.state
        return state is State.CLOSED or (self._leaving and state is State.IDLE)

    def _wake(self) -> None:
        if not self._nudge.done():
            self._nudge.set_result(None)

    async def _next(self) -> None:
        """Wait for anything to happen and act on it."""
        if self._reader is None and self._session.reading:
            self._reader = asyncio.create_task(self._listen(), name="listen")
        if self._hearer is None and self._intake is not None:
            self._hearer = asyncio.create_task(self._intake.next(), name="hear")
        if self._writer is None and self._outbox:
            self._writer = asyncio.create_task(self._write(), name="write")
        tasks = [task for task in (self._reader, self._hearer, self._writer) if task]
        deadline = self._session.deadline
        self._wakes_at = float("inf") if deadline is None else deadline
        timeout = None if deadline is None else max(0.0, deadline - self._clock())
        await asyncio.wait(
            [*tasks, self._nudge], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if self._nudge.done():
            self._nudge = asyncio.get_running_loop().create_future()
        if self._writer is not None and self._writer.done():
            self._writer = None
        if self._hearer is not None and self._hearer.done():
            heard, self._hearer = self._hearer.result(), None
            self._feed(heard)
        if self._reader is not None and self._reader.done():
            said, self._reader = self._reader.result(), None
            if said is not None:
                self._feed(said)
        if deadline is not None and self._clock() >= deadline:
            self._feed(Tick(reading=self._listening))

    async def _listen(self) -> Input | None:
        """The client's next command; audio is passed on meanwhile, until something follows from it.

        Nothing is read before the recogniser has room for what it may bring.
        """
        while True:
            self._listening = False
            if (intake := self._intake) is not None:
                try:
                    await intake.room()
                except AsrError as error:
                    return Failed(error) if intake is self._intake else None
            self._listening = True
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return Gone()
            data = message.get("bytes")
            if data is None:
                return parse(message["text"])
            self._feed(Audio(data))
            deadline = self._session.deadline
            if self._outbox or deadline is None or deadline < self._wakes_at:
                return None

    async def _open(self, task: Task) -> Input | None:
        """A place in the recogniser; nothing is read meanwhile."""
        lead = self._settings.max_lead_s
        try:
            hotwords = await self._house.hotwords.of(self._caller, task)
            await self._house.engine.prepare(hotwords)
            self._house.seats.take(self._caller)
            try:
                self._intake = AudioInput.open(
                    task, hotwords, self._house.engine, lead, self._house.metrics
                )
            except BaseException:
                self._house.seats.leave(self._caller)
                raise
        except AsrError as error:
            return Failed(error)
        return Opened()

    async def _write(self) -> None:
        """Send what is in the outbox; to a client that has gone, nothing."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the reader learns of it
            while self._outbox:
                await self._websocket.send_text(self._outbox.popleft().frame)

    def _feed(self, event: Input) -> None:
        self._vanished |= isinstance(event, Gone)
        task_id = self._session.task_id or getattr(event, "task_id", None)
        outputs = self._session.receive(event, self._clock())
        for output in outputs:
            if isinstance(output, Send) and isinstance(output.tells, AsrError):
                self._failure = output.tells
                if self._intake is None:  # the task never began
                    report.ended("failed", self._failure, self._caller, task_id=task_id or None)
        for output in outputs:
            try:
                self._carry_out(output)
            except AsrError as error:  # the audio is not what it should be
                self._feed(Failed(error))
                return

    def _carry_out(self, output: Output) -> None:
        match output:
            case Send():
                self._post(output)
            case OpenStream() if self._leaving:
                raise ShuttingDown
            case OpenStream(task):
                self._reader = asyncio.create_task(self._open(task), name="open")
            case PushAudio(data) if self._intake:
                self._intake.push(data)
            case FinishStream() if self._intake:
                self._intake.finish()
            case CloseStream():
                self._close_intake()
            case CloseSocket():
                self._farewell = output

    def _post(self, message: Send) -> None:
        match message.tells:
            case AsrError() as error:
                self._house.metrics.errors.labels(error.code).inc()
            case events.Sentence() as sentence if self._intake:
                self._intake.told(sentence)
        if self._outbox and self._outbox[-1].passing:
            self._outbox.pop()
        self._outbox.append(message)
        if len(self._outbox) > self._settings.max_unread_results:
            about = {"task_id": self._session.task_id}
            log.warning("the client does not read; it is cut", extra=about)
            cut(self._websocket.scope)

    def _close_intake(self) -> None:
        if self._intake is not None:
            outcome = self._outcome
            figures = self._intake.close(outcome)
            report.ended(outcome, self._failure, self._caller, **figures)
            self._intake = None
            self._house.seats.leave(self._caller)
        if self._hearer is not None:
            self._hearer.cancel()
            self._hearer = None

    @property
    def _outcome(self) -> Outcome:
        """How the task ended that is being closed."""
        if self._failure is None and self._session.state is State.IDLE:
            return "finished"
        return "vanished" if self._failure is None and self._vanished else "failed"

    async def _leave(self) -> None:
        """Let the last messages out and close; cut a client that does not take them in time."""
        if self._farewell is None:
            return
        try:
            await asyncio.wait_for(
                self._say_farewell(self._farewell), self._settings.close_timeout_s
            )
        except asyncio.TimeoutError:
            cut(self._websocket.scope)

    async def _say_farewell(self, farewell: CloseSocket) -> None:
        if self._writer is not None:
            await self._writer
        await self._write()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(farewell.code, farewell.reason)
