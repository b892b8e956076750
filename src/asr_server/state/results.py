"""Hypotheses of one task to the frames its client sees: numbered, worded, not too many.

The official Python SDK takes one message per audio frame it sends, so an interim result goes out
only against a frame received since the last message, and never sooner than an interval after it.
An interim held back is replaced by a newer one; finals never wait.
"""

from dataclasses import replace

from asr_server.audio.units import to_ms
from asr_server.protocol import events
from asr_server.recognition import Hypothesis
from asr_server.state.messages import Send
from asr_server.state.sentence import render
from asr_server.state.task import Task


class Results:
    """The results of one task."""

    def __init__(self, task: Task, interval_s: float) -> None:
        self._task = task
        self._interval_s = interval_s
        self._shape = events.transcription if task.family.transcribes else events.sentence
        self._number = task.family.first_sentence_id
        self._begun = False
        self._held: Hypothesis | None = None
        self._credit = 1
        self._next_at = float("-inf")
        self._all_sent = False

    @property
    def deadline(self) -> float | None:
        """When `due` will have something to say, if nothing else happens."""
        return self._next_at if self._held and (self._credit > 0 or self._all_sent) else None

    def input(self) -> None:
        """A frame of audio came: the client will take one message for it."""
        self._credit = min(self._credit + 1, 1)

    def finish(self) -> None:
        """The client has sent everything and does nothing but read."""
        self._all_sent = True

    def heard(self, heard: Hypothesis, now: float) -> list[Send]:
        """What to send at once."""
        if heard.end is None:
            self._held = heard
            return self.due(now)
        self._held = None
        final = self._sentence(heard)
        if not self._begun and not final.text:  # noise: the client never hears of it
            return []
        said = []
        if not self._begun and not self._task.family.transcribes:  # Gummy knows no beginnings
            opening = replace(final, end_time=None, text="", words=(), begins=True)
            said.append(self._say(opening, now))
        said.append(self._say(final, now))
        self._number += 1
        self._begun = False
        return said

    def due(self, now: float) -> list[Send]:
        """The interim held back, if its time has come."""
        if self.deadline is None or now < self.deadline or self._held is None:
            return []
        interim = self._sentence(self._held)
        self._held = None
        return [self._say(interim, now)] if self._begun or interim.text else []

    def _say(self, sentence: events.Sentence, now: float) -> Send:
        self._credit -= 1
        self._next_at = now + self._interval_s
        self._begun = True
        passing = sentence.end_time is None and not sentence.begins
        return Send(self._shape(self._task.task_id, sentence), passing, sentence)

    def _sentence(self, heard: Hypothesis) -> events.Sentence:
        asked = self._task.parameters
        rendered = render(
            heard.tokens,
            begin=heard.begin,
            end=heard.end,
            final=heard.end is not None,
            paused=heard.paused,
            itn=asked.inverse_text_normalization_enabled,
            punctuation=asked.punctuation_prediction_enabled,
            disfluency_removal=asked.disfluency_removal_enabled,
            special_words=self._task.special_words,
        )
        words = tuple(
            events.Word(
                to_ms(word.begin),
                to_ms(word.end),
                word.text,
                word.punctuation,
                word.confidence if asked.word_confidence_enabled else None,
            )
            for word in rendered.words
        )
        return events.Sentence(
            sentence_id=self._number,
            begin_time=to_ms(heard.begin),
            end_time=None if heard.end is None else to_ms(heard.end),
            text=rendered.text,
            words=words,
            begins=heard.end is None and not self._begun,
        )
