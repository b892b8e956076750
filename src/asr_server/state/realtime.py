"""Decide the conversation of a Realtime session, without I/O, over the session of the other door.

The buffer of a Realtime session is a task: the first audio starts it, a commit finishes it. With
server VAD each sentence of a task is an item of the conversation; without, all sentences up to the
commit are one item. A fault in an event is answered and the session goes on; a task that fails ends
the session, as it ends the connection at the other door.
"""

from dataclasses import replace

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
from asr_server.protocol.realtime_events import Item, RealtimeEvents
from asr_server.protocol.realtime_session import (
    KEYWORD_WEIGHT,
    QWEN,
    Config,
    InvalidEvent,
    run_task,
    updated,
)
from asr_server.recognition import EndOfStream
from asr_server.settings import Settings
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
from asr_server.state.utterance import Utterance
from asr_server.text.hotwords import check
from asr_server.text.tokens import joined

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
        self._utterance: Utterance | None = None
        self._previous: Item | None = None
        self._held: Audio | None = None
        """The audio that waits for its stream."""
        self._buffered = 0
        """Bytes of audio in the current task."""
        self._begin_ms = self._task_ms = 0
        """Where the current task begins in the session, and its length as far as it is known."""
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

    def receive(self, event: Input | RealtimeCommand, now: float) -> list[Output]:
        """Return what to do about an input."""
        if self.state is State.CLOSED:
            return []
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
        return [*self._commit_item(), *self._pass_on(FinishTask(), now)]

    def _clear(self, now: float) -> list[Output]:
        outputs: list[Output] = []
        if self.task_id:
            outputs.append(CloseStream(self.task_id))
            self._end_task()
            self._utterance = None
            self._session = Session(self._settings, now)
        return [*outputs, Send(self._events.cleared())]

    # The task's outputs -------------------------------------------------------------------------

    def _pass_on(self, event: Input, now: float) -> list[Output]:
        """Give the session an input, and return its outputs with the frames of this door."""
        outputs: list[Output] = []
        for output in self._session.receive(event, now):
            match output:
                case Send(sentence=Sentence() as sentence):
                    outputs += self._show(sentence)
                case Send():  # started, finished, failed, a heartbeat: this door has its own
                    pass
                case OpenStream(task):
                    padding = self._config.vad.prefix_padding_ms if self._config.vad else 300
                    outputs.append(
                        OpenStream(
                            replace(task, door=self._events.dialect.name, prefix_padding_ms=padding)
                        )
                    )
                case CloseStream(error=AsrError() as error):
                    outputs += [output, Send(self._events.error(error))]
                case _:
                    outputs.append(output)
        if isinstance(event, Opened) and self._held is not None:
            held, self._held = self._held, None
            self._buffered += len(held.data)
            outputs += self._pass_on(held, now)
        if isinstance(event, EndOfStream) and self.state is State.IDLE:
            outputs += self._task_ended()
        return outputs

    def _show(self, sentence: Sentence) -> list[Output]:
        """Return the events of a result."""
        outputs: list[Output] = []
        utterance = self._utterance
        if utterance is None:
            utterance = self._utterance = Utterance(self._events.new_item(self._previous))
            if self._config.vad:
                begin_ms = self._begin_ms + sentence.begin_time
                outputs.append(Send(self._events.speech_started(utterance.item, begin_ms)))
        if sentence.end_time is None:
            outputs += self._interim(utterance, sentence)
            return outputs
        self._task_ms = sentence.end_time
        utterance.speech_ms += sentence.end_time - sentence.begin_time
        utterance.finals = joined(utterance.finals, sentence.text)
        if not self._config.vad:  # the item ends with the task
            utterance.last = utterance.finals
            return [*outputs, *self._interim(utterance, replace(sentence, text=""))]
        if not utterance.committed:
            end_ms = self._begin_ms + sentence.end_time
            outputs.append(Send(self._events.speech_stopped(utterance.item, end_ms)))
        return [*outputs, *self._commit_item(), *self._complete(utterance, sentence)]

    def _interim(self, utterance: Utterance, sentence: Sentence) -> list[Output]:
        text = utterance.show(sentence.text)
        if self._events.dialect is QWEN:
            if not text:
                return []
            rest = text[len(utterance.fixed) :]
            frame = self._events.text(utterance.item, utterance.fixed, rest)
            return [Send(frame, replaceable=True, sentence=sentence)]
        added = utterance.added(utterance.fixed)
        if not added:
            return []
        return [Send(self._events.delta(utterance.item, added), sentence=sentence)]

    def _commit_item(self) -> list[Output]:
        """Return the events of a complete buffer, unless they were sent."""
        if self._utterance is None:
            self._utterance = Utterance(self._events.new_item(self._previous))
        if self._utterance.committed:
            return []
        self._utterance.committed = True
        self._previous = self._utterance.item
        return [Send(frame) for frame in self._events.committed(self._utterance.item)]

    def _complete(self, utterance: Utterance, sentence: Sentence | None) -> list[Output]:
        self._utterance = None
        outputs: list[Output] = []
        if self._events.dialect is not QWEN and (added := utterance.added(utterance.finals)):
            outputs.append(Send(self._events.delta(utterance.item, added)))
        seconds = utterance.speech_ms / 1000
        frame = self._events.completed(utterance.item, utterance.finals, seconds)
        return [*outputs, Send(frame, sentence=sentence)]

    def _task_ended(self) -> list[Output]:
        """Return the events after the last result of a task."""
        self._end_task()
        outputs: list[Output] = []
        if self._utterance is not None:
            outputs = [*self._commit_item(), *self._complete(self._utterance, None)]
        return [*outputs, *(self._finished() if self._finishing else [])]

    def _end_task(self) -> None:
        bytes_per_s = self._config.bytes_per_s
        self._begin_ms += self._buffered * 1000 // bytes_per_s if bytes_per_s else self._task_ms
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
