"""Decide the conversation on one connection, without I/O: inputs go in, outputs come out.

Inputs come from the client, from the engine and from a timer; time is a number of seconds on any
monotonic clock. TRANSITIONS holds every rule about which input may come in which state. An absent
cell is the client's fault for a client's input, and the task fails; for the engine's input it is a
bug of this server, and an assertion fails. An error or a timeout leads from any state to CLOSED.
"""

import logging
from enum import Enum
from math import inf

from asr_server.errors import AsrError, IdleTimeout, ResponseTimeout, TaskTooLong
from asr_server.protocol import events
from asr_server.protocol.commands import ContinueTask, FinishTask, Rejected, RunTask
from asr_server.protocol.refusals import invalid_action
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.settings import Settings
from asr_server.state.messages import (
    FROM_ENGINE,
    Audio,
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
from asr_server.state.results import Results
from asr_server.state.task import Task, accept

log = logging.getLogger(__name__)


class State(Enum):
    """Name the phase of the conversation."""

    IDLE = "no task"
    STARTING = "the engine opens the stream"
    STREAMING = "audio goes in, results come out"
    FINISHING = "all audio is in, the last results come out"
    COMPLETE = "the one sentence of the task is final, finish-task or a timeout ends the task"
    CLOSED = "the connection is to be closed"


TRANSITIONS: dict[State, dict[type[Input], State]] = {
    State.IDLE: {
        RunTask: State.STARTING,
        ContinueTask: State.IDLE,  # too late to matter, as are the next two
        FinishTask: State.IDLE,
        Audio: State.IDLE,
        Tick: State.IDLE,
        Disconnected: State.CLOSED,
    },
    State.STARTING: {
        Opened: State.STREAMING,
        Failed: State.CLOSED,
        Tick: State.STARTING,
        Disconnected: State.CLOSED,
    },
    State.STREAMING: {
        Audio: State.STREAMING,
        RunTask: State.FINISHING,  # comes again once the task has finished
        ContinueTask: State.STREAMING,
        FinishTask: State.FINISHING,
        Hypothesis: State.STREAMING,
        EndOfStream: State.COMPLETE,  # after the one sentence of gummy-chat-v1
        Failed: State.CLOSED,
        Tick: State.STREAMING,
        Disconnected: State.CLOSED,
    },
    State.FINISHING: {
        Audio: State.FINISHING,  # SDK threads still flushing
        RunTask: State.FINISHING,
        ContinueTask: State.FINISHING,
        FinishTask: State.FINISHING,
        Hypothesis: State.FINISHING,
        EndOfStream: State.IDLE,
        Failed: State.CLOSED,
        Tick: State.FINISHING,
        Disconnected: State.CLOSED,
    },
    State.COMPLETE: {
        Audio: State.COMPLETE,
        RunTask: State.IDLE,
        ContinueTask: State.COMPLETE,
        FinishTask: State.IDLE,
        Failed: State.CLOSED,
        Tick: State.COMPLETE,
        Disconnected: State.CLOSED,
    },
    State.CLOSED: {},
}


COMPLETE_S = 5.0
"""Seconds after the one sentence of gummy-chat-v1 until its task ends by itself.

The service ends it at once, but its own Java sample then fails in `stop()`.
"""


class Session:
    """Hold one connection's conversation: feed it every input, carry out its outputs in order."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self.state = State.IDLE
        self._task: Task | None = None
        self._idle_until = now + settings.connection_timeout_s
        self._input_until = now
        self._speech_until = now
        self._task_until = inf
        self._complete_until = now
        self._heartbeat_at = now
        self._results: Results  # of the current or the last task
        self._had_task = False
        self._had_audio = False
        """Whether the current task got any audio."""

    @property
    def task_id(self) -> str:
        """Return the current task's id, or ""."""
        return self._task.task_id if self._task else ""

    @property
    def deadline(self) -> float | None:
        """Return when a `Tick` is due unless another input comes before."""
        match self.state:
            case State.IDLE:
                return self._idle_until
            case State.STREAMING:
                silence = self._heartbeat_at if self._heartbeat else self._speech_until
                times = (self._input_until, self._task_until, silence, self._results.deadline)
                return min(time for time in times if time is not None)
            case State.FINISHING:
                return self._results.deadline
            case State.COMPLETE:
                return self._complete_until
            case _:
                return None

    def receive(self, event: Input, now: float) -> list[Output]:
        """Return what to do about an input."""
        state = self.state
        if state is State.CLOSED:
            return []
        try:
            return self._move(state, event, now)
        except AsrError as error:
            return self._fail(self.task_id or getattr(event, "task_id", ""), error)

    def _move(self, state: State, event: Input, now: float) -> list[Output]:
        if isinstance(event, Rejected):
            raise event.error
        following = TRANSITIONS[state].get(type(event))
        if following is None:
            name = type(event).__name__  # not the event, which may contain a transcript
            assert not isinstance(event, FROM_ENGINE), f"{name} while {state.name}"
            raise invalid_action(getattr(event, "action", "audio"))
        self._enter(following)
        match state, event:
            case State.IDLE, RunTask():
                self._task = accept(event, self._settings)
                return [OpenStream(self._task)]
            case State.IDLE, FinishTask() if not self._had_task:
                raise invalid_action(event.action)
            case State.IDLE, Tick() if now >= self._idle_until:
                self._enter(State.CLOSED)
                return [CloseSocket(1000, "idle")]
            case State.STARTING, Opened():
                return self._start(now)
            case State.STREAMING, Audio(data):
                if data:  # nothing else keeps a slot: a client could hold all of them for nothing
                    self._audio_received(now)
                    self._had_audio = True
                self._results.audio_received()
                return [PushAudio(data)]
            case State.STREAMING, ContinueTask(context) if context is not None:
                return [ReplaceContext(context)]
            case State.STREAMING, FinishTask():
                return self._finish_stream()
            case State.STREAMING, RunTask() if not self._had_audio:
                raise invalid_action(event.action)
            case State.STREAMING, RunTask():
                return [*self._finish_stream(), Postpone(event)]
            case State.FINISHING, RunTask():
                return [Postpone(event)]
            case State.COMPLETE, RunTask():
                return [*self._finish(now), Postpone(event)]
            case _, Hypothesis():
                return self._show(event, now)
            case State.STREAMING, EndOfStream():
                self._complete_until = now + COMPLETE_S
                return [CloseStream(self.task_id)]
            case _, EndOfStream():
                return [CloseStream(self.task_id), *self._finish(now)]
            case State.COMPLETE, FinishTask():
                return self._finish(now)
            case State.COMPLETE, Tick() if now >= self._complete_until:
                self._enter(State.IDLE)
                return self._finish(now)
            case State.STREAMING, Tick():
                return self._tick(event, now)
            case State.FINISHING, Tick():
                return self._send(self._results.due(now), now)
            case _, Failed(error):
                raise error
            case _, Disconnected():
                return [CloseStream(self.task_id)] if self._task else []
        return []

    def _start(self, now: float) -> list[Output]:
        assert self._task
        self._results = Results(self._task, self._settings.result_interval_ms / 1000)
        self._had_task, self._had_audio = True, False
        self._speech_until = now + self._settings.response_timeout_s
        self._task_until = now + (self._settings.max_task_s or inf)
        self._audio_received(now)
        return self._send([Send(events.task_started(self._task.task_id))], now)

    def _show(self, hypothesis: Hypothesis, now: float) -> list[Output]:
        assert self._task
        self._speech_until = now + self._settings.response_timeout_s
        outputs = self._send(self._results.accept(hypothesis, now), now)
        if outputs and hypothesis.final and self._task.family.single_sentence:
            outputs += self._move(self.state, EndOfStream(), now)
        return outputs

    def _finish_stream(self) -> list[Output]:
        self._results.finish_received()
        return [FinishStream()]

    def _tick(self, tick: Tick, now: float) -> list[Output]:
        assert self._task
        if not tick.reading:  # the engine is behind: what the client sends is unknown
            self._audio_received(now)
            self._speech_until = now + self._settings.response_timeout_s
        if now >= self._task_until:
            raise TaskTooLong(self._settings.max_task_s)
        if now >= self._input_until:
            raise IdleTimeout(self._settings.input_timeout_s)
        if now >= self._speech_until and not self._heartbeat:
            raise ResponseTimeout
        sends = self._results.due(now)
        if self._heartbeat and not sends and now >= self._heartbeat_at:
            sends = [Send(events.heartbeat(self._task.task_id), replaceable=True)]
        return self._send(sends, now)

    def _finish(self, now: float) -> list[Output]:
        finished = events.task_finished(self.task_id, self._results.usage)
        self._task = None
        self._idle_until = now + self._settings.idle_timeout_s
        return [Send(finished)]

    def _fail(self, task_id: str, error: AsrError) -> list[Output]:
        self._enter(State.CLOSED)
        return [
            CloseStream(task_id, error),
            Send(events.task_failed(task_id, error)),
            CloseSocket(error.close_code, error.close_reason),
        ]

    def _send(self, sends: list[Send], now: float) -> list[Output]:
        if sends:
            self._heartbeat_at = now + self._settings.heartbeat_interval_s
        return [*sends]

    def _audio_received(self, now: float) -> None:
        self._input_until = now + self._settings.input_timeout_s

    @property
    def _heartbeat(self) -> bool:
        return self._task is not None and self._task.parameters.heartbeat

    def _enter(self, state: State) -> None:
        if state is not self.state:
            log.debug("task %s = %s", self.task_id or "-", state.name)
            self.state = state
