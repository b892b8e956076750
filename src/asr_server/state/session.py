"""The conversation on one connection, without I/O: inputs go in, outputs come out.

Two peers move it, the client and the recogniser, and so does time, which comes in as a number of
seconds on any clock that never goes back. All rules about what may follow what are in TRANSITIONS.
A cell that is absent is the client's fault if the client moved, and the task fails; it is this
server's bug if the recogniser moved, and an assertion fails. Any state but CLOSED also leads to
CLOSED, by an error or by a time that ran out.
"""

import logging
from enum import Enum

from asr_server.errors import AsrError, IdleTimeout, ResponseTimeout
from asr_server.protocol import events
from asr_server.protocol.commands import (
    ContinueTask,
    FinishTask,
    Rejected,
    RunTask,
    invalid_action,
)
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.settings import Settings
from asr_server.state.messages import (
    FROM_RECOGNISER,
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
from asr_server.state.results import Results
from asr_server.state.task import Task, accept

log = logging.getLogger(__name__)


class State(Enum):
    """Where the conversation is."""

    IDLE = "no task"
    STARTING = "the task waits for the recogniser"
    STREAMING = "audio goes in, results come out"
    FINISHING = "all audio is in, the last results come out"
    CLOSED = "nothing more will be said"


TRANSITIONS: dict[State, dict[type[Input], State]] = {
    State.IDLE: {
        RunTask: State.STARTING,
        ContinueTask: State.IDLE,  # too late to matter, as are the next two
        FinishTask: State.IDLE,
        Audio: State.IDLE,
        Tick: State.IDLE,
        Gone: State.CLOSED,
    },
    State.STARTING: {
        Opened: State.STREAMING,
        Failed: State.CLOSED,
        Tick: State.STARTING,
        Gone: State.CLOSED,
    },
    State.STREAMING: {
        Audio: State.STREAMING,
        ContinueTask: State.STREAMING,
        FinishTask: State.FINISHING,
        Hypothesis: State.STREAMING,
        EndOfStream: State.IDLE,  # after the one sentence of gummy-chat-v1
        Failed: State.CLOSED,
        Tick: State.STREAMING,
        Gone: State.CLOSED,
    },
    State.FINISHING: {
        Audio: State.FINISHING,  # SDK threads still flushing
        ContinueTask: State.FINISHING,
        FinishTask: State.FINISHING,
        Hypothesis: State.FINISHING,
        EndOfStream: State.IDLE,
        Failed: State.CLOSED,
        Tick: State.FINISHING,
        Gone: State.CLOSED,
    },
    State.CLOSED: {},
}


class Session:
    """One connection's conversation; feed it every input, carry out every output in order."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self.state = State.IDLE
        self._task: Task | None = None
        self._idle_until = now + settings.connection_timeout_s
        self._silent_until = now
        self._speechless_until = now
        self._heartbeat_at = now
        self._results: Results  # of the task that runs, or ran last
        self._ran = False

    @property
    def task_id(self) -> str:
        """The running task's id, or nothing."""
        return self._task.task_id if self._task else ""

    @property
    def reading(self) -> bool:
        """Whether the client may be listened to; what it sends before that stays in the socket."""
        return self.state not in (State.STARTING, State.CLOSED)

    @property
    def deadline(self) -> float | None:
        """When a `Tick` is due if nothing happens before."""
        match self.state:
            case State.IDLE:
                return self._idle_until
            case State.STREAMING:
                silence = self._heartbeat_at if self._heartbeat else self._speechless_until
                times = (self._silent_until, silence, self._results.deadline)
                return min(time for time in times if time is not None)
            case State.FINISHING:
                return self._results.deadline
            case _:
                return None

    def receive(self, event: Input, now: float) -> list[Output]:
        """What to do about an input."""
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
            name = type(event).__name__  # and not the event, which may be what was said
            assert not isinstance(event, FROM_RECOGNISER), f"{name} while {state.name}"
            raise invalid_action(getattr(event, "action", "audio"))
        self._enter(following)
        match state, event:
            case State.IDLE, RunTask():
                self._task = accept(event, self._settings)
                return [OpenStream(self._task)]
            case State.IDLE, FinishTask() if not self._ran:
                raise invalid_action(event.action)
            case State.IDLE, Tick() if now >= self._idle_until:
                self._enter(State.CLOSED)
                return [CloseSocket(1000, "idle")]
            case State.STARTING, Opened():
                return self._start(now)
            case State.STREAMING, Audio(data):
                self._listened(now)
                self._results.input()
                return [PushAudio(data)]
            case State.STREAMING, ContinueTask():
                self._listened(now)
            case State.STREAMING, FinishTask():
                self._results.finish()
                return [FinishStream()]
            case _, Hypothesis():
                return self._hear(event, now)
            case _, EndOfStream():
                return self._finish(now)
            case State.STREAMING, Tick():
                return self._wait(event, now)
            case State.FINISHING, Tick():
                return self._say(self._results.due(now), now)
            case _, Failed(error):
                raise error
            case _, Gone():
                return [CloseStream()] if self._task else []
        return []

    def _start(self, now: float) -> list[Output]:
        assert self._task
        self._results = Results(self._task, self._settings.result_interval_ms / 1000)
        self._ran = True
        self._speechless_until = now + self._settings.response_timeout_s
        self._listened(now)
        return self._say([Send(events.task_started(self._task.task_id))], now)

    def _hear(self, heard: Hypothesis, now: float) -> list[Output]:
        assert self._task
        self._speechless_until = now + self._settings.response_timeout_s
        outputs = self._say(self._results.heard(heard, now), now)
        if outputs and heard.end is not None and self._task.family.single_sentence:
            outputs += self._move(self.state, EndOfStream(), now)
        return outputs

    def _wait(self, tick: Tick, now: float) -> list[Output]:
        assert self._task
        if not tick.reading:  # the recogniser is behind: nobody knows what the client sends
            self._listened(now)
            self._speechless_until = now + self._settings.response_timeout_s
        if now >= self._silent_until:
            raise IdleTimeout(self._settings.input_timeout_s)
        if now >= self._speechless_until and not self._heartbeat:
            raise ResponseTimeout
        said = self._results.due(now)
        if self._heartbeat and not said and now >= self._heartbeat_at:
            said = [Send(events.heartbeat(self._task.task_id), passing=True)]
        return self._say(said, now)

    def _finish(self, now: float) -> list[Output]:
        finished = events.task_finished(self.task_id)
        self._task = None
        self._idle_until = now + self._settings.idle_timeout_s
        return [CloseStream(), Send(finished)]

    def _fail(self, task_id: str, error: AsrError) -> list[Output]:
        outputs: list[Output] = [CloseStream()] if self._task else []
        self._enter(State.CLOSED)
        outputs.append(Send(events.task_failed(task_id, error), tells=error))
        outputs.append(CloseSocket(error.close_code, error.code))
        return outputs

    def _say(self, said: list[Send], now: float) -> list[Output]:
        if said:
            self._heartbeat_at = now + self._settings.heartbeat_interval_s
        return [*said]

    def _listened(self, now: float) -> None:
        self._silent_until = now + self._settings.input_timeout_s

    @property
    def _heartbeat(self) -> bool:
        return self._task is not None and self._task.parameters.heartbeat

    def _enter(self, state: State) -> None:
        if state is not self.state:
            log.debug("task %s = %s", self.task_id or "-", state.name)
            self.state = state
