"""Turn the hypotheses of one task into results: numbered, rendered and paced.

Pacing: the official Python SDK takes one message per audio frame it sends, so an interim result is
sent only against a frame received since the last message, and never sooner than an interval after
it. A held interim is replaced by a newer one; finals never wait. (The stream's mailbox and the
connection's outbox do the same for hypotheses not yet taken and frames not yet sent.)
"""

from dataclasses import replace

from asr_server.audio.units import to_ms
from asr_server.protocol import events
from asr_server.recognition import Hypothesis
from asr_server.state.messages import Send
from asr_server.state.sentence import render
from asr_server.state.task import Task


class Results:
    """Hold the sentence number and the pacing of one task's results."""

    def __init__(self, task: Task, interval_s: float) -> None:
        self._task = task
        self._interval_s = interval_s
        self._interim = task.interim
        self._frame = events.transcription if task.family.transcribes else events.sentence
        self._number = task.family.first_sentence_id
        self._begun = False
        """Whether a result of the current sentence has been sent."""
        self._held: Hypothesis | None = None
        self._credit = 1
        """Messages that the client takes before its next audio frame, at most one."""
        self._next_at = float("-inf")
        self._all_received = False
        self._output_tokens = 0 if task.family.counts_tokens else None
        self.usage: events.Usage | None = None
        """What the task has used, for task-finished; None unless it counts tokens."""

    @property
    def deadline(self) -> float | None:
        """Return when `due` returns the held interim, or None if only an input can change that."""
        paid = self._credit > 0 or self._all_received
        return self._next_at if self._held and paid else None

    def audio_received(self) -> None:
        """Count an audio frame: the client takes one more message."""
        self._credit = min(self._credit + 1, 1)

    def finish_received(self) -> None:
        """Stop counting audio frames: from now on the client only reads."""
        self._all_received = True

    def accept(self, hypothesis: Hypothesis, now: float) -> list[Send]:
        """Return the results to send at once."""
        if not hypothesis.final:
            if not self._interim:
                return []
            self._held = hypothesis
            return self.due(now)
        self._held = None
        final = self._sentence(hypothesis)
        if not self._begun and not final.text:  # noise: the client has seen nothing of it
            return []
        if self._output_tokens is not None:
            self._output_tokens += len(hypothesis.tokens)
            final = replace(final, output_tokens=self._output_tokens)
            self.usage = events.usage(final)
        sends = []
        begins = self._interim and not self._task.family.transcribes  # Gummy has no sentence_begin
        if begins and not self._begun:
            opening = replace(final, end_time=None, text="", words=(), begins=True)
            sends.append(self._send(opening, now))
        sends.append(self._send(final, now))
        self._number += 1
        self._begun = False
        return sends

    def due(self, now: float) -> list[Send]:
        """Return the held interim if its deadline has passed."""
        if self.deadline is None or now < self.deadline or self._held is None:
            return []
        interim = self._sentence(self._held)
        self._held = None
        return [self._send(interim, now)] if self._begun or interim.text else []

    def _send(self, sentence: events.Sentence, now: float) -> Send:
        self._credit -= 1
        self._next_at = now + self._interval_s
        self._begun = True
        replaceable = sentence.end_time is None and not sentence.begins
        return Send(self._frame(self._task.task_id, sentence), replaceable, sentence)

    def _sentence(self, hypothesis: Hypothesis) -> events.Sentence:
        words = render(hypothesis, self._task.parameters, self._task.special_words)
        return events.Sentence(
            sentence_id=self._number,
            begin_time=to_ms(hypothesis.begin),
            end_time=None if hypothesis.end is None else to_ms(hypothesis.end),
            text="".join(word.text + word.punctuation for word in words),
            words=words,
            begins=not hypothesis.final and not self._begun,
        )
