"""Turn the results of tasks into the items of a Realtime conversation, and their events.

With server VAD an item is a sentence. It is opened when speech begins, before there is text, and
completed by the sentence's final; speech that turns out to be noise is an item without text.
Without server VAD an item is all that comes up to a commit.
"""

from collections import deque
from dataclasses import dataclass, replace
from os.path import commonprefix

from asr_server.protocol.events import Sentence
from asr_server.protocol.realtime_events import Item, RealtimeEvents
from asr_server.protocol.realtime_session import QWEN
from asr_server.state.messages import Send
from asr_server.text.tokens import joined


@dataclass(slots=True)
class Utterance:
    """Hold one item that is not complete, and its text so far."""

    item: Item
    begin_ms: int
    """Where its speech begins, from the start of the task."""
    committed: bool = False
    finals: str = ""
    """The sentences that will not change any more."""
    last: str = ""
    """The text when it was last shown."""
    fixed: str = ""
    """The beginning of it that two results agreed on."""
    sent: str = ""
    """What deltas have sent."""
    speech_ms: int = 0

    def show(self, sentence: str) -> str:
        """Return the whole text with the open sentence, and note what of it is fixed."""
        text = joined(self.finals, sentence)
        common = commonprefix([self.last, text])
        if not (text.startswith(self.fixed) and len(self.fixed) > len(common)):
            self.fixed = common
        self.last = text
        return text

    def added(self, text: str) -> str:
        """Return what a delta adds to reach `text`; nothing if that contradicts an earlier one."""
        if not text.startswith(self.sent):
            return ""
        added, self.sent = text[len(self.sent) :], text
        return added


class Items:
    """Hold the items of one conversation that are not complete."""

    def __init__(self, events: RealtimeEvents) -> None:
        self._events = events
        self._open: deque[Utterance] = deque()
        self._newest: Item | None = None
        self.detected = True
        """Whether server VAD makes the items."""
        self.task_begin_ms = 0
        """Where the current task begins in the session."""

    def speech_started(self, begin_ms: int) -> list[Send]:
        """Return the events of speech that begins, in ms from the start of the task."""
        utterance = self._new(begin_ms)
        if not self.detected:
            return []
        start_ms = self.task_begin_ms + begin_ms
        return [Send(self._events.speech_started(utterance.item, start_ms))]

    def show(self, sentence: Sentence) -> list[Send]:
        """Return the events of a result."""
        sends: list[Send] = []
        if not self._open or sentence.begin_time < self._open[0].begin_ms:
            sends += self.speech_started(sentence.begin_time)
            self._open.rotate(1)  # it comes before those that are open
        utterance = self._open[0]
        if sentence.end_time is None:
            return [*sends, *self._interim(utterance, sentence)]
        utterance.speech_ms += sentence.end_time - sentence.begin_time
        utterance.finals = joined(utterance.finals, sentence.text)
        if not self.detected:
            utterance.last = utterance.finals
            return [*sends, *self._interim(utterance, replace(sentence, text=""))]
        return [*sends, *self._end(sentence.end_time, sentence)]

    def speech_ended(self, begin_ms: int, end_ms: int) -> list[Send]:
        """Return the events of speech that was noise, if its item is open."""
        noise = self.detected and self._open and self._open[0].begin_ms <= begin_ms
        return self._end(end_ms, None) if noise else []

    def commit(self) -> list[Send]:
        """Return the events of a commit: what is open will get no further audio."""
        if not self._open:
            self._new(0)
        return [send for utterance in self._open for send in self._commit(utterance)]

    def complete(self) -> list[Send]:
        """Return the events that complete what is open, at the end of a task."""
        sends: list[Send] = []
        while self._open:
            sends += self._commit(self._open[0])
            sends += self._complete(None)
        return sends

    def clear(self) -> None:
        """Forget what is open."""
        self._open.clear()

    # Parts --------------------------------------------------------------------------------------

    def _new(self, begin_ms: int) -> Utterance:
        self._newest = self._events.new_item(self._newest)
        self._open.append(Utterance(self._newest, begin_ms))
        return self._open[-1]

    def _interim(self, utterance: Utterance, sentence: Sentence) -> list[Send]:
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

    def _end(self, end_ms: int, sentence: Sentence | None) -> list[Send]:
        """Return the events of the end of the first item, in ms from the start of the task."""
        utterance, sends = self._open[0], []
        if not utterance.committed:
            stop_ms = self.task_begin_ms + end_ms
            sends.append(Send(self._events.speech_stopped(utterance.item, stop_ms)))
        return [*sends, *self._commit(utterance), *self._complete(sentence)]

    def _commit(self, utterance: Utterance) -> list[Send]:
        if utterance.committed:
            return []
        utterance.committed = True
        return [Send(frame) for frame in self._events.committed(utterance.item)]

    def _complete(self, sentence: Sentence | None) -> list[Send]:
        """Return the events of the final text of the first item."""
        utterance = self._open.popleft()
        sends: list[Send] = []
        if self._events.dialect is not QWEN and (added := utterance.added(utterance.finals)):
            sends.append(Send(self._events.delta(utterance.item, added)))
        seconds = utterance.speech_ms / 1000
        frame = self._events.completed(utterance.item, utterance.finals, seconds)
        return [*sends, Send(frame, sentence=sentence)]
