"""Decide the conversation of a Realtime session, without I/O, over the session of the other door.

The buffer of a Realtime session is a task: the first audio starts it, a commit finishes it. `Items`
makes the conversation of its results. A fault in an event is answered and the session goes on; a
task that fails ends the session, as it ends the connection at the other door.
"""

from dataclasses import replace

from asr_server.audio.units import to_ms
from asr_server.errors import AsrError, ModelNotFound
from asr_server.protocol import models
from asr_server.protocol.commands import FinishTask
from asr_server.protocol.events import Sentence
from asr_server.protocol.openai import NAMES
from asr_server.protocol.realtime import (
    Append,
    Clear,
    Commit,
    Finish,
    RealtimeCommand,
    Refused,
    SessionUpdate,
)
from asr_server.protocol.realtime_events import RealtimeEvents
from asr_server.protocol.realtime_session import (
    KEYWORD_WEIGHT,
    Config,
    InvalidEvent,
    run_task,
    updated,
)
from asr_server.recognition import EndOfStream, Hypothesis, SpeechStarted
from asr_server.settings import Settings
from asr_server.state.items import Items
from asr_server.state.messages import (
    Audio,
    CloseSocket,
    CloseStream,
    Input,
    Opened,
    OpenStream,
    Output,
    Postpone,
    Send,
)
from asr_server.state.session import Session, State
from asr_server.state.task import Task
from asr_server.text.hotwords import check

MOST_REFUSED = 100
"""Events of a session that may be at fault; the next one closes the connection."""
COMMANDS = (SessionUpdate, Append, Commit, Clear, Finish, Refused)


class RealtimeSession:
    """Hold one session's conversation: feed it every input, carry out its outputs in order."""

    def __init__(
        self, settings: Settings, now: float, events: RealtimeEvents, config: Config
    ) -> None:
        self._settings = settings
        self._events = events
        self._config = config
        self._session = Session(settings, now)
        self._tasks = self._refused = 0
        self._items = Items(events)
        self._held: Audio | None = None
        """The audio that waits for its stream."""
        self._buffered = 0
        """Bytes of audio in the current task."""
        self._task_ms = 0
        """Where the current task's last sentence ends."""
        self._finishing = False
        self._closed = False

    @property
    def state(self) -> State:
        """Return the state of the current task."""
        return State.CLOSED if self._closed else self._session.state

    @property
    def task_id(self) -> str:
        """Return the current task's id, or ""."""
        return self._session.task_id

    @property
    def deadline(self) -> float | None:
        """Return when a `Tick` is due unless another input comes before."""
        return self._session.deadline

    def open(self) -> list[Output]:
        """Return the first event of the session, or why there is none."""
        try:
            self._check(self._config)
        except InvalidEvent as error:
            return [Send(self._events.error(error)), *self._close(1000, error.reason)]
        return [Send(self._events.session("created", self._config))]

    def receive(self, event: Input | SpeechStarted | RealtimeCommand, now: float) -> list[Output]:
        """Return what to do about an input."""
        if self.state is State.CLOSED:
            return []
        if isinstance(event, SpeechStarted):
            return [*self._items.speech_started(to_ms(event.begin))]
        if not isinstance(event, COMMANDS):
            return self._pass_on(event, now)
        try:
            return self._obey(event, now)
        except InvalidEvent as error:
            return self._refuse(error, event.event_id)

    # Commands -----------------------------------------------------------------------------------

    def _obey(self, command: RealtimeCommand, now: float) -> list[Output]:
        if isinstance(command, Refused):
            raise command.error
        if self.state is State.FINISHING:
            return [Postpone(command)]
        if self._finishing:
            raise InvalidEvent("The session is finished: connect again.", code="session_finished")
        match command:
            case SessionUpdate():
                return self._update(command, now)
            case Append(audio=data):
                return self._append(data, now)
            case Commit():
                return self._commit(now)
            case Clear():
                return self._clear(now)
            case Finish():
                self._finishing = True
                if self.state is State.IDLE:
                    return self._finished()
                return self._pass_on(FinishTask(), now)

    def _update(self, command: SessionUpdate, now: float) -> list[Output]:
        config = updated(self._config, command.session, self._events.dialect)
        self._check(config)
        if config != self._config and self.state is State.STREAMING:
            # A task keeps its parameters: the audio so far is recognised with the old ones.
            return [*self._pass_on(FinishTask(), now), Postpone(command)]
        self._config = config
        self._items.detected = config.vad is not None
        return [Send(self._events.session("updated", config, beta=command.beta))]

    def _append(self, data: bytes, now: float) -> list[Output]:
        if not data:
            return []
        if self.state is State.IDLE:
            self._tasks += 1
            self._held = Audio(data)
            task_id = f"{self._events.session_id}-{self._tasks}"
            return self._pass_on(run_task(self._config, self._events.dialect, task_id), now)
        self._buffered += len(data)
        return self._pass_on(Audio(data), now)

    def _commit(self, now: float) -> list[Output]:
        if self.state is State.IDLE:
            raise InvalidEvent(
                "Error committing input audio buffer: the buffer is empty.",
                code="input_audio_buffer_commit_empty",
            )
        return [*self._items.commit(), *self._pass_on(FinishTask(), now)]

    def _clear(self, now: float) -> list[Output]:
        outputs: list[Output] = []
        if self.task_id:
            outputs.append(CloseStream(self.task_id))
            self._end_task()
            self._items.clear()
            self._session = Session(self._settings, now)
        return [*outputs, Send(self._events.cleared())]

    # The task's outputs -------------------------------------------------------------------------

    def _pass_on(self, event: Input, now: float) -> list[Output]:
        """Give the session an input, and return its outputs with the frames of this door."""
        outputs: list[Output] = []
        for output in self._session.receive(event, now):
            match output:
                case Send(sentence=Sentence() as sentence):
                    self._task_ms = sentence.end_time or self._task_ms
                    outputs += self._items.show(sentence)
                case Send():  # started, finished, failed, a heartbeat: this door has its own
                    pass
                case OpenStream(task):
                    outputs.append(OpenStream(self._at_this_door(task)))
                case CloseStream(error=AsrError() as error):
                    outputs += [output, Send(self._events.error(error))]
                case _:
                    outputs.append(output)
        if isinstance(event, Hypothesis) and event.end is not None and not outputs:
            outputs += self._items.speech_ended(to_ms(event.begin), to_ms(event.end))
        if isinstance(event, Opened) and self._held is not None:
            held, self._held = self._held, None
            self._buffered += len(held.data)
            outputs += self._pass_on(held, now)
        if isinstance(event, EndOfStream) and self.state is State.IDLE:
            outputs += self._task_ended()
        return outputs

    def _at_this_door(self, task: Task) -> Task:
        """Return a task with what `run-task` has no parameter for."""
        task = replace(task, door=self._events.dialect.name)
        if self._config.vad is None:
            return task
        padding_ms = self._config.vad.prefix_padding_ms
        return replace(task, prefix_padding_ms=padding_ms, announces_speech=True)

    def _task_ended(self) -> list[Output]:
        """Return the events after the last result of a task."""
        self._end_task()
        return [*self._items.complete(), *(self._finished() if self._finishing else [])]

    def _end_task(self) -> None:
        bytes_per_s = self._config.bytes_per_s
        length_ms = self._buffered * 1000 // bytes_per_s if bytes_per_s else self._task_ms
        self._items.task_begin_ms += length_ms
        self._buffered = self._task_ms = 0

    def _finished(self) -> list[Output]:
        return [Send(self._events.finished())]  # the SDK logs an error if the server closes

    def _close(self, code: int, reason: str) -> list[Output]:
        self._closed = True
        return [CloseSocket(code, reason)]

    # Parts --------------------------------------------------------------------------------------

    def _check(self, config: Config) -> None:
        """Raise InvalidEvent for a model or a word that no task could have."""
        try:
            models.find(config.model, self._settings.model_aliases)
            for word in config.keywords:
                check(word, KEYWORD_WEIGHT)
        except ModelNotFound as error:
            message = error.client_message + NAMES
            raise InvalidEvent(message, "model", "model_not_found") from error
        except ValueError as error:
            raise InvalidEvent(str(error), "keywords") from error

    def _refuse(self, error: InvalidEvent, event_id: str | None) -> list[Output]:
        self._refused += 1
        outputs: list[Output] = [Send(self._events.error(error, event_id))]
        if self._refused > MOST_REFUSED:
            closing = self._close(1008, "too many invalid events")
            outputs = [CloseStream(self._session.task_id, error), *outputs, *closing]
        return outputs
